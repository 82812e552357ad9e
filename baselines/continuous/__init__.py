"""Solvers and learners for mean-field games with continuous states and actions."""
