"""Trainers and solvers for the games of :mod:`mfenvs`, in the manner of Stable-Baselines3."""
