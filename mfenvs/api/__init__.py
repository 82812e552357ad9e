"""Environments of the games in the APIs of PettingZoo, gymnasium, Stable-Baselines3, TorchRL and BenchMARL."""
