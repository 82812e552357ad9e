"""Deep solvers of mean-field games, which learn from samples of the N-player game."""
