"""Solvers of the induced mean-field game, which read its model: arrays of probabilities and rewards."""
