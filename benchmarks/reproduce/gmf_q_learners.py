"""The learners that are compared on the repeated auction, with equal amounts of experience.

Experience is counted in rounds of the environment, or in transitions. In a round of GMF-Q a single representative
agent takes part and yields one transition; in a round of the N-player game all N agents do, each of whom yields
one. So with equal rounds every independent learner sees as many transitions as GMF-Q, and with equal transitions
all N of them together do.
"""

import math
from typing import Any, Literal

from baselines.policies import TabularPolicy
from baselines.tabular.gmf_q import GMFQ
from baselines.tabular.independent_q import MFQ, IndependentQ
from mfenvs import FiniteGame
from mfenvs.meanfield.responses import respond

Learner = GMFQ | MFQ | IndependentQ
Budget = Literal["rounds", "transitions"]

GAME = "Auction-v0"
ALGORITHMS = ("GMF-Q", "MF-Q", "IL")


def episodes_worth(game: FiniteGame, sweeps: int, budget: Budget) -> int:
    """Number of episodes of the N-player game that are worth T_k sweeps of GMF-Q over all (s, a), at least one."""
    rounds = sweeps * game.n_states * game.n_actions
    if budget == "transitions":
        rounds //= game.n_agents
    return max(1, rounds // game.horizon)


def learner(
    game: FiniteGame, algorithm: str, seed: int, *, sweeps: int, budget: Budget, **options: Any
) -> Learner:
    """A learner whose outer iteration has the experience of T_k = ``sweeps`` sweeps of GMF-Q.

    Parameters
    ----------
    game:
        The auction.
    algorithm:
        One of :data:`ALGORITHMS`.
    seed:
        Random seed of the learner.
    sweeps:
        Number T_k of Q-learning iterations of GMF-Q, each a sweep over all (s, a).
    budget:
        What is equal: "rounds" of the environment, or "transitions".
    options:
        Hyper-parameters of the learner.
    """
    if algorithm == "GMF-Q":
        # An update along one agent's path is a single transition.
        updates = game.n_states * game.n_actions if options.get("asynchronous") else 1
        return GMFQ(game, seed=seed, inner_iterations=sweeps * updates, **options)
    episodes = episodes_worth(game, sweeps, budget)
    if algorithm == "MF-Q":
        return MFQ(game, seed=seed, episodes=episodes, **options)
    return IndependentQ(game, seed=seed, episodes=episodes, **options)


def policy_for(trainer: Learner, evaluation: str) -> TabularPolicy:
    """The policy of a learner that is judged.

    Parameters
    ----------
    trainer:
        The learner.
    evaluation:
        "own" for the policy by which it acts; "c = 16" for the Boltzmann policy of its values at another inverse
        temperature; "greedy" for their argmax-e; "own, usual" for MF-Q's policy at the mean action that it has met
        most often, and not averaged over all that it has met.
    """
    if evaluation == "own":
        return trainer.policy
    if evaluation == "own, usual":
        if not isinstance(trainer, MFQ):
            raise ValueError(f"evaluation {evaluation!r} is for MF-Q, got {type(trainer).__name__}")
        return trainer.policy_at(trainer.config.inverse_temperature, usual_only=True)
    c = math.inf if evaluation == "greedy" else float(evaluation.removeprefix("c = "))
    if isinstance(trainer, GMFQ):
        return TabularPolicy(respond(trainer.q, c))
    return trainer.policy_at(c)
