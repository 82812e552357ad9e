"""Data, forecasts, welfare, settlement and records of played days of the energy market.

The games themselves are :mod:`mfenvs.games.energy`, which imports nothing from here but what a market is made of:
series and their calendar, members, tariffs, and the tables that these are read from. The tags [S], [R] and [O] in
docstrings say where a definition comes from; :mod:`mfenvs.games` explains them.
"""
