"""Reproductions of the source papers' figures and tables, and speeds side by side with peers."""
