"""What is handed over of a game: its mean-field arrays at the laws that another library asks for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfenvs.finite_game import FiniteGame
from mfenvs.meanfield.induced import InducedGame
from mfenvs.public_chain import refuse_public_chain

Array = NDArray[np.float64]


class HandedOver:
    """P and R of a finite game that ends, tabulated at a law and a time; the last ones are kept.

    Raises
    ------
    TypeError
        If the game is not finite, or has a public chain.
    ValueError
        If it goes on for ever: the other libraries' games end.
    """

    def __init__(self, game: FiniteGame, library: str) -> None:
        refuse_public_chain(game, f"handing over to {library}")
        self.induced = InducedGame(game)
        if game.is_infinite:
            raise ValueError(
                f"game must end, as {library}'s games do, got {type(game).__name__} with discount"
                f" {game.discount:g}: dataclasses.replace(game, discount=1.0) ends after its horizon"
            )
        self._kept: dict[int, tuple[bytes, tuple[Array, Array]]] = {}

    def arrays(self, time: int, law: Any) -> tuple[Array, Array]:
        """P (S, A, S) and R (S, A) at a law over states and actions, which is normalised."""
        shape = self.induced.policy_shape[1:]
        found = np.ascontiguousarray(law, np.float64).reshape(shape)
        key = found.tobytes()
        if self._kept.get(time, (b"",))[0] != key:
            # Sums of single-precision numbers are one only nearly.
            self._kept[time] = key, self.induced.arrays(found / found.sum(), time)
        return self._kept[time][1]
