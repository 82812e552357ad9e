"""Counter-based random numbers: a draw is a function of (seed, world, episode, time, agent, stream).

The generator has no state. The same seed gives the same trajectory whichever API, batch size, thread count or
device asks, and every world has its own numbers. A rule of a game gets its agent's key of the step from the
engine, and draws with :func:`uniform`, :func:`normal` or :func:`student_t`, each draw from a stream of its own.

The 64-bit key of a step is hashed once a world and step by the finaliser of SplitMix64 [1]_. An agent's 32-bit
key, and each draw from it, cost one round of the 32-bit finaliser lowbias32 with its improved constants [2]_,
which vectorises.

References
----------
.. [1] Steele, Lea & Flood (2014). Fast splittable pseudorandom number generators. OOPSLA.
.. [2] Wellons. Hash function prospector. https://github.com/skeeto/hash-prospector
"""

import math
from typing import Any

import numpy as np
from numba import float32, uint32, uint64

from mfenvs.rules import rule

START = 0
"""Purpose of a key: draw the initial states."""
ACT = 1
"""Purpose of a key: sample actions from a policy inside the engine."""
ADVANCE = 2
"""Purpose of a key: the randomness of the game's rules within a step."""

NOBODY = 0xFFFFFFFF
"""Stands for an agent's index in draws that all agents share, such as public news."""

_GOLDEN_64 = np.uint64(0x9E3779B97F4A7C15)
_GOLDEN_32 = np.uint32(0x9E3779B1)
_STREAM_STEP = np.uint32(0x85EBCA6B)
_TWO_TO_MINUS_24 = np.float32(2.0**-24)
_HALF_A_STEP = np.float32(2.0**-25)
_TWO_PI = np.float32(2.0 * math.pi)
_S3, _S5, _S7, _S9, _S11 = (np.float32((-1) ** (n // 2) / math.factorial(n)) for n in (3, 5, 7, 9, 11))


@rule
def mix64(x: Any) -> Any:
    """Scramble 64 bits (a bijection)."""
    x = uint64(x)
    x = uint64((x ^ (x >> uint64(30))) * uint64(0xBF58476D1CE4E5B9))
    x = uint64((x ^ (x >> uint64(27))) * uint64(0x94D049BB133111EB))
    return x ^ (x >> uint64(31))


@rule
def mix32(x: Any) -> Any:
    """Scramble 32 bits (a bijection)."""
    x = uint32(x)
    x = uint32((x ^ (x >> uint32(16))) * uint32(0x21F0AAAD))
    x = uint32((x ^ (x >> uint32(15))) * uint32(0xD35A2D97))
    return x ^ (x >> uint32(15))


@rule
def step_key(seed: Any, world: Any, episode: Any, time: Any, purpose: Any) -> Any:
    """The 64-bit key of all draws for one purpose in one step of one world.

    Parameters
    ----------
    seed, world, episode, time:
        Random seed, id of the world, number of the episode, and time step, all integers >= 0.
    purpose:
        ``START``, ``ACT`` or ``ADVANCE``.
    """
    key = mix64(uint64(seed) + _GOLDEN_64)
    key = mix64(key ^ (uint64(world) + _GOLDEN_64))
    key = mix64(key ^ (uint64(episode) + _GOLDEN_64))
    return mix64(key ^ (uint64(time) * uint64(4) + uint64(purpose) + _GOLDEN_64))


@rule
def agent_key(key: Any, agent: Any) -> Any:
    """An agent's 32-bit key of a step.

    Parameters
    ----------
    key:
        The step's key, of :func:`step_key`.
    agent:
        Index of the agent, or ``NOBODY``.
    """
    low = uint32(uint64(key) & uint64(0xFFFFFFFF))
    high = uint32(uint64(key) >> uint64(32))
    return uint32(mix32(uint32(low + uint32(agent) * _GOLDEN_32)) ^ high)


@rule
def uniform(key: Any, stream: Any) -> Any:
    """A uniform random number in [0, 1), a multiple of 2^-24, in single precision.

    Parameters
    ----------
    key:
        The agent's key of this step, as the engine hands it to a rule.
    stream:
        Number of the draw within the step: 0, 1, 2, ... Different streams are independent.

    Returns
    -------
    A float32.
    """
    bits = mix32(uint32(key + uint32(stream) * _STREAM_STEP))
    return float32(uint32(bits >> uint32(8))) * _TWO_TO_MINUS_24


@rule
def cosine_of_turns(turns: Any) -> Any:
    """cos(2 pi turns) for 0 <= turns <= 1, in single precision.

    Computed as the sine of at most a quarter turn, by its Taylor series: several times faster than the cosine of
    the mathematical library.
    """
    x = _TWO_PI * (abs(turns - np.float32(0.5)) - np.float32(0.25))
    square = x * x
    series = ((((_S11 * square + _S9) * square + _S7) * square + _S5) * square + _S3) * square + np.float32(1.0)
    return x * series


@rule
def normal(key: Any, stream: Any) -> Any:
    """A standard normal random number, in single precision (Box & Muller, 1958).

    Parameters
    ----------
    key:
        The agent's key of this step, as the engine hands it to a rule.
    stream:
        Number of the draw within the step. It takes the streams ``stream`` and ``stream + 1``.

    Returns
    -------
    A float32.
    """
    radius = math.sqrt(np.float32(-2.0) * math.log(uniform(key, stream) + _HALF_A_STEP))
    return radius * cosine_of_turns(uniform(key, stream + 1))


@rule
def student_t(key: Any, stream: Any, degrees_of_freedom: Any) -> Any:
    """A random number of Student's t distribution, in single precision (Bailey, 1994: the polar method).

    A uniform draw is a multiple of 2^-24, so the largest number is that with tail probability 2^-25: about
    sqrt(nu) times 2^(25 / nu).

    Parameters
    ----------
    key:
        The agent's key of this step, as the engine hands it to a rule.
    stream:
        Number of the draw within the step. It takes the streams ``stream`` and ``stream + 1``.
    degrees_of_freedom:
        nu > 0.

    Returns
    -------
    A float32.
    """
    nu = float32(degrees_of_freedom)
    tail = math.exp(np.float32(-2.0) / nu * math.log(uniform(key, stream) + _HALF_A_STEP))
    return math.sqrt(nu * (tail - np.float32(1.0))) * cosine_of_turns(uniform(key, stream + 1))
