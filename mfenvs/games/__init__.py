"""The games, each in a file or folder of its own.

Those of other libraries are in the folder ``classic``, and games with common noise in ``common_noise``.

Tags in their docstrings say where a definition comes from: [S] the source states it; [R] the source is
ambiguous or misprinted and we resolved it; [O] the source is silent and the choice is ours.

Sources: Yardim & He, "Exploiting approximate symmetry for efficient multi-agent reinforcement learning",
arXiv 2408.15173; Guo, Hu, Xu & Zhang, "Learning mean-field games", arXiv 1901.09585; Subramanian & Mahajan,
"Reinforcement learning in stationary mean-field games", AAMAS 2019; "Math Deep Dive: Understanding Mean-Field-Type
Games" (energy market, linear-quadratic game).
"""
