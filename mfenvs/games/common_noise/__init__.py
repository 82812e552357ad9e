"""Finite games with common noise: all agents see the state of a public chain (``FiniteGame.public_chain``).

Tags as in :mod:`mfenvs.games`. Other libraries evaluate such games against best responses that see the whole
future of the noise; here they are adapted (:mod:`mfenvs.meanfield.public_tree`).

Sources: MFAX (JAX mean-field games, https://github.com/CWibault/mfax); Carmona, Fouque & Sun, "Mean field games
and systemic risk", arXiv 1308.2172.
"""
