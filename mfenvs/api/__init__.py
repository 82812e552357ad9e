"""The engine's worlds in the APIs of PettingZoo, gymnasium and Stable-Baselines3."""
