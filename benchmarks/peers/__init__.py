"""Solvers of other libraries beside :func:`mfenvs.solve`: time to an exploitability, game by game."""
