"""Meanings of the measures that training logs."""

import textwrap
from collections.abc import Mapping

MEANINGS = {
    "train/return": "mean return of an agent while learning",
    "rollout/ep_rew_mean": "mean return of an agent while learning",
    "eval/return": "mean return of an agent in fresh simulations",
    "eval/mean_field_exploitability": "exploitability, exact in the mean-field game: what an agent could gain"
    " by deviating alone, 0 at an equilibrium; with several populations, the largest of theirs",
    "train/entropy": "mean entropy of the policy, in nats",
    "train/unvisited": "share of the table's entries (time, state, action) that no agent visited",
    "train/q_loss": "mean squared error of the Q-network in the last gradient steps",
    "train/cross_entropy": "cross-entropy of the average network on actions of best responses, in nats",
    "train/rms_error": "root mean square error of the learned Q",
    "train/q_error": "root mean square error of the learned Q",
    "train/change_l1": "change of the population in this iteration: L1 distance at the time where it is largest",
    "train/change_linf": "change of the population in this iteration: largest change of an entry",
    "train/approx_kl": "estimated Kullback-Leibler divergence of the policy before the update from that after it",
    "train/entropy_loss": "minus the mean entropy of the policy, in nats",
    "train/explained_variance": "share of the returns' variance that the value network explains",
    "train/wasserstein_distance": "W1 between the laws of agents' states in this rollout and in the one before",
    "train/critic_learning_rate": "size of the critic's steps; learning_rate: that of the actor's",
}
"""Meaning of each measure by its name; a measure that is missing here is one of SB3's own."""

INDENT = "      "

RETURNS = ("train/return", "rollout/ep_rew_mean", "eval/return")

NOTE = (
    "The mean return may fall while learning succeeds: every agent answers to what the others do, and an"
    " equilibrium need not be good for them all. How close a policy is to one is its exploitability: see"
    " `mfenvs evaluate`."
)


def describe(measured: Mapping[str, float], width: int) -> str:
    """Lay out the measures of an iteration, with their meanings where known, in lines of ``width`` characters."""
    if not measured:
        return "last iteration: nothing was left to do"
    longest = max(map(len, measured))
    lines = ["last iteration:"]
    for name, value in measured.items():
        lines.append(f"  {name:<{longest}}  {value:>10.5g}")
        lines += textwrap.wrap(
            MEANINGS.get(name, ""), width, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False
        )
    if any(name in measured for name in RETURNS):
        lines += textwrap.wrap(NOTE, width)
    return "\n".join(lines)
