"""What surrounds the energy market's games: its data, forecasts, welfare, settlement, and records of played days.

The games themselves are :mod:`mfenvs.games.energy`, which imports nothing from here but the data
(:mod:`mfenvs.energy.series`).
"""
