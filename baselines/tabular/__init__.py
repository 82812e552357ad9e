"""Tabular learners: tables of action probabilities or of Q values, learned from samples."""
