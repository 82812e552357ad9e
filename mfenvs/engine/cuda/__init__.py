"""The CUDA engine: the same games, rules and random numbers on a GPU.

It needs the extra ``cuda`` (numba-cuda). Only :mod:`mfenvs.engine.cuda.device` can be imported without it;
everything but ``device="cuda"`` works then.
"""
