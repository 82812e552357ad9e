"""Equilibria of finite mean-field games, found without tuning: see :func:`mfenvs.solve`."""
