"""Environments of the games in the APIs of other packages, one module each.

PettingZoo, gymnasium and Stable-Baselines3; TorchRL and BenchMARL; RLlib, Tianshou and PufferLib. A module imports
its package, which must be installed. All show one :class:`~mfenvs.api.population.Population`.
"""
