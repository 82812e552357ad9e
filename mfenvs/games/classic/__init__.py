"""Classic finite mean-field games: those of MFGLib, OpenSpiel, Bench-MFG and gmfg-learning, with N agents as well.

They are the games on which the other libraries test their solvers, so that results can be compared. Each says what
its source defines and where it differs; tags as in :mod:`mfenvs.games`. All agents of a population are alike.
Common choices [O]:

* N = 1000 agents by default: the sources have the limit only.
* Rewards of the kind -log mu(s) read the whole population, the agent itself included, so that they are at most
  log N. Other rules read the N - 1 others. Both have the source's limit.
* Where a source draws constants from a random number generator that everybody shares, they follow from a field
  ``game_seed`` here, and can be given.
* MFGLib's games over times 0, ..., T have the horizon T + 1.
* OpenSpiel pays for an action together with the reward of the *next* state, so that the last action is free. Here
  an action is paid for when it is taken, and the last one is free too: totals are equal.
* Bench-MFG's games go on for ever with discount .9. It weighs values by the law after 50 steps of the policy, and
  stops after 99 sweeps of values; :meth:`mfenvs.InducedGame.exploitability` weighs them by the initial law, and
  is exact. "Weighing by the stationary law" in a docstring is its way, without the cuts.
* In games with several populations laws are those within each population, and N is the number of agents of all
  together. Exploitability is given for each population; OpenSpiel adds them up.

Sources: MFGLib (Guo, Hu, Li et al., "MFGLib: a library for mean-field games", arXiv 2304.08630); OpenSpiel
(Lanctot et al., "OpenSpiel: a framework for reinforcement learning in games", arXiv 1908.09453); Bench-MFG (a
benchmark suite for learning in stationary mean-field games, arXiv 2602.12517); gmfg-learning (Cui & Koeppl,
"Learning graphon mean field games and approximate Nash equilibria", arXiv 2112.01280).
"""
