"""What networks learn from transitions: policies from Q values, and targets of Q values."""

from __future__ import annotations

import dataclasses
import math

import torch


@dataclasses.dataclass(frozen=True)
class Transitions:
    """Transitions of single agents, as tensors with a row each."""

    observations: torch.Tensor
    """What the agents saw, shape (n, width)."""
    masks: torch.Tensor
    """Which actions were allowed, shape (n, n_actions)."""
    actions: torch.Tensor
    """Their actions, shape (n,)."""
    rewards: torch.Tensor
    """Their rewards, shape (n,)."""
    next_observations: torch.Tensor
    """What they saw then, shape (n, width)."""
    next_masks: torch.Tensor
    """Which actions were allowed then, shape (n, n_actions)."""
    goes_on: torch.Tensor
    """Whether the game went on, shape (n,)."""


def log_policy(q: torch.Tensor, masks: torch.Tensor, temperature: float) -> torch.Tensor:
    """Logarithms of softmax(q / temperature) over the actions that are allowed; -infinity for the others."""
    return torch.log_softmax((q / temperature).masked_fill(~masks, -math.inf), dim=-1)


def munchausen_targets(
    batch: Transitions,
    q: torch.Tensor,
    next_q: torch.Tensor,
    next_target_q: torch.Tensor,
    *,
    temperature: float,
    munchausen: float,
    discount: float,
    least_probability: float,
) -> torch.Tensor:
    """Targets of deep Munchausen online mirror descent, shape (n,).

    r + alpha tau log pi(a | s) + gamma sum_b pi(b | s') (Q_target(s', b) - tau log pi(b | s')), with pi =
    softmax(Q / tau), where Q are the values of the last iteration. Only actions that are allowed take part.

    Parameters
    ----------
    batch:
        The transitions.
    q, next_q:
        Q values of the last iteration in the states and the next states, shape (n, n_actions).
    next_target_q:
        Q values of the target network in the next states, shape (n, n_actions).
    temperature, munchausen, discount:
        tau, alpha and gamma.
    least_probability:
        Probability below which logarithms are cut off.

    References
    ----------
    Lauriere et al., "Scalable deep reinforcement learning algorithms for mean field games" (ICML 2022), section 4;
    Vieillard, Pietquin & Geist, "Munchausen reinforcement learning" (NeurIPS 2020).
    """
    least = math.log(least_probability)
    played = log_policy(q, batch.masks, temperature).gather(1, batch.actions[:, None])[:, 0]
    next_log = log_policy(next_q, batch.next_masks, temperature)
    next_law = next_log.exp()
    gains = next_law * (next_target_q - temperature * next_log.clamp(min=least))
    bonus = munchausen * temperature * played.clamp(min=least)
    return batch.rewards + bonus + discount * batch.goes_on * gains.sum(dim=1)


def best_response_targets(batch: Transitions, next_target_q: torch.Tensor, *, discount: float) -> torch.Tensor:
    """Targets of Q-learning, r + gamma max_b Q_target(s', b) over the actions b that are allowed, shape (n,)."""
    best = next_target_q.masked_fill(~batch.next_masks, -math.inf).amax(dim=1)
    return batch.rewards + discount * batch.goes_on * best
