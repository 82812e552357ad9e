"""Games brought as black boxes: from rollouts of a PettingZoo ParallelEnv to a finite game, and back.

:func:`mfenvs.from_parallel_env` (``estimated_game``) plays episodes in the environment (``environment``,
``rollouts``), fits transition probabilities and rewards as linear functions of the population, with standard
errors (``regression``, ``estimates``), makes a finite game of them (``fitted_game``), and predicts with errors
what policies earn in it and how exploitable they are (``predictions``).
"""
