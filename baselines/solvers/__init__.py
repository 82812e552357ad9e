"""Solvers of the induced mean-field game from its model: arrays of transition probabilities and rewards."""
