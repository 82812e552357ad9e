"""Data, forecasts, welfare, settlement and records of played days of the energy market.

The games themselves are :mod:`mfenvs.games.energy`, which imports nothing from here but the data
(:mod:`mfenvs.energy.series`, :mod:`mfenvs.energy.calendar`). The tags [S], [R] and [O] in docstrings say where a
definition comes from; :mod:`mfenvs.games` explains them.
"""
