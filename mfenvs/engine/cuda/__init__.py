"""The CUDA engine: the same games, rules and random numbers on a GPU.

It needs the extra ``cuda`` (numba-cuda), and nothing else imports these modules: without it everything but
``Engine(game, device="cuda")`` works.
"""
