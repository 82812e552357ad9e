"""Figures of the energy market for a grid planner: arrays in, one matplotlib figure out of each function."""
