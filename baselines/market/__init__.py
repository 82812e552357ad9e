"""Policies of the energy market, and the forecaster that is a neural network."""
