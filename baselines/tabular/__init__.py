"""Learners with tables: of a policy's probabilities or of values of state and action, learned from samples."""
