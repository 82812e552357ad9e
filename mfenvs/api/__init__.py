"""Environments of the games in the APIs of PettingZoo, gymnasium and Stable-Baselines3."""
