"""The closed-form feedback as a policy that plays the linear-quadratic game."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.games.linear_quadratic.game import LinearQuadratic

from .solution import LinearQuadraticSolution

WIDE = 8.0
"""Controls must stay within the control bound for so many standard deviations."""


class LinearQuadraticPolicy:
    """The feedback u = -(b / r) (P(t) x + xi(t)) of a closed-form solution, for all agents of all types.

    It has the ``predict`` of Stable-Baselines3, and is played by every function of mfenvs that takes a policy. It
    acts on agents' observations: state, type and elapsed time, and with ``follows_means`` the types' mean states.
    It is that of continuous time, evaluated at the beginning of each step.

    Parameters
    ----------
    solution:
        Equilibrium or social optimum.
    game:
        Game in which the policy is played, by default that of the solution. It may have another number of agents
        and of steps.
    follows_means:
        Whether xi follows the present mean states of the types among the N agents, xi = (Pi - diag(P)) m, as under
        common noise it must; by default if there is common noise. Otherwise it follows the means of the mean
        field.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed, the game has another duration or other types, its ``control_bound`` is
        within 8 standard deviations of the feedback's controls, so that these would be clipped, or its steps are
        so long that states under the feedback grow where in continuous time they decay.
    """

    def __init__(
        self,
        solution: LinearQuadraticSolution,
        game: LinearQuadratic | None = None,
        *,
        follows_means: bool | None = None,
    ) -> None:
        if not isinstance(solution, LinearQuadraticSolution):
            raise TypeError(f"solution must be a LinearQuadraticSolution, got {checks.shown(solution)}")
        game = solution.game if game is None else game
        if not isinstance(game, LinearQuadratic):
            raise TypeError(f"game must be a LinearQuadratic game, got {checks.shown(game)}")
        if (game.types, game.duration) != (solution.game.types, solution.game.duration):
            raise ValueError(
                f"game must have the types {solution.game.types} and the duration {solution.game.duration:g} of"
                f" the solution, got {game.types} and {game.duration:g}"
            )
        is_noisy = solution.parameters.common_volatility > 0.0
        self.follows_means = is_noisy if follows_means is None else checks.boolean("follows_means", follows_means)
        """Whether the policy acts on the present means of the types."""
        self.observe: tuple[str, ...] = ("type-means",) if self.follows_means else ()
        """Observation blocks that the policy sees beside an agent's own observation."""
        self.solution, self.game = solution, game
        if self.follows_means:
            solution.xi_of_means(0.0)  # Raises an error if the feedback on the means is infinite somewhere.
        self._check_bound()
        self._check_stability()

    def _check_bound(self) -> None:
        solution, bound = self.solution, self.game.control_bound
        times = np.linspace(0.0, self.game.duration, 65)
        response = np.abs(solution.parameters.response)
        centre = response * np.abs(solution.costate(times))
        spread = response * np.abs(solution.riccati(times)) * np.sqrt(solution.variance(times))
        needed = float((centre + WIDE * spread).max())
        if bound < needed:
            raise ValueError(
                f"control_bound must be at least {needed:.3g}, so that the feedback is not clipped, got"
                f" {bound:g}: make the game with a larger one"
            )

    def _check_stability(self) -> None:
        c, step = self.solution.parameters, self.game.step_coefficients
        gain = self.solution.riccati(np.linspace(0.0, self.game.duration, 65))
        decays = c.drift - c.strength * gain < 0.0
        factor = np.abs(step.stay - step.push * c.response * gain)
        if np.any(factor[decays] > 1.0):
            raise ValueError(
                f"horizon must be larger for the feedback: with dt = {self.game.dt:g} states grow by a factor of"
                f" {factor[decays].max():.3g} in a step, where in continuous time they decay, got horizon"
                f" {self.game.horizon}"
            )

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float32], None]:
        """The controls of agents, and None, as in Stable-Baselines3.

        Parameters
        ----------
        observation:
            Observations of agents, shape (n_rows, width), or of one, (width,).
        state, episode_start, deterministic:
            Not used.

        Returns
        -------
        Controls, shape (n_rows, 1), or (1,) for one observation, and None.

        Raises
        ------
        ValueError
            If observations have another width.
        """
        given = np.asarray(observation)
        n = len(self.game.types)
        width = n + 2 + (n if self.follows_means else 0)
        if given.ndim not in (1, 2) or given.shape[-1] != width:
            raise ValueError(
                f"observation must have {width} features, {self._features()}, got shape {given.shape}"
            )
        rows = np.atleast_2d(given).astype(np.float64)
        kinds = rows[:, 1 : n + 1].argmax(axis=1)
        # Elapsed times are in single precision: the step that is meant is exact.
        steps, which = np.unique(np.rint(rows[:, n + 1] * self.game.horizon), return_inverse=True)
        times = np.clip(steps / self.game.horizon, 0.0, 1.0) * self.game.duration
        gains = self.solution.riccati(times)[which, kinds]
        if self.follows_means:
            means = self.game.means_of(rows[:, n + 2 :])
            constants = np.einsum("ik,ik->i", self.solution.xi_of_means(times)[which, kinds], means)
        else:
            constants = self.solution.xi(times)[which, kinds]
        controls = -self.solution.parameters.response[kinds] * (gains * rows[:, 0] + constants)
        bound = self.game.control_bound
        chosen = np.clip(controls, -bound, bound).astype(np.float32)[:, None]
        return (chosen[0] if given.ndim == 1 else chosen), None

    def _features(self) -> str:
        means = ", type-means" if self.follows_means else ""
        return f"the agent's own {len(self.game.types) + 2}{means}"
