"""The balances in the channels of a network, and payments in several parts that move them.

Fees follow the Lightning Network's specification BOLT 7: a node that forwards an amount asks
``base + floor(amount x ppm / 10^6)`` for the channel it sends it on by, and a sender's own channel is free.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.energy.settlement.network import MOST_MSAT, PaymentNetwork
from mfenvs.energy.settlement.routing import MILLION, Route


class Delivery(NamedTuple):
    """Result of one attempt at a payment."""

    delivered: bool
    """Whether the whole amount arrived; if not, nothing moved."""
    n_parts: int
    """Number of parts that found room, whether all did or not."""
    fee_msat: int
    """Fees that the sender pays on top of the amount, msat; 0 if nothing moved."""
    earned: dict[int, int]
    """The same fees by the node that earns them, msat."""


class ChannelBalances:
    """The balances of the two ends of each channel of a network, and payments that move them.

    Parameters
    ----------
    network:
        The network, whose opening balances these start from.

    Raises
    ------
    TypeError
        If ``network`` is none.
    """

    def __init__(self, network: PaymentNetwork) -> None:
        if not isinstance(network, PaymentNetwork):
            raise TypeError(f"network must be a PaymentNetwork, got {network!r}")
        self.network = network
        self._head: list[int] = network.ends.ravel().tolist()
        self._base: list[int] = np.repeat(network.base_fee_msat, 2).tolist()
        self._ppm: list[int] = np.repeat(network.fee_ppm, 2).tolist()
        self.reset()

    def reset(self) -> None:
        """Return to the opening balances."""
        net = self.network
        # Python's integers: they are exact at any size, and quicker one by one than numpy's.
        self._spendable: list[int] = (
            np.stack([net.balance_msat, net.capacity_msat - net.balance_msat], 1).ravel().tolist()
        )

    def array(self) -> NDArray[np.int64]:
        """Balances of the channels' two ends, msat, shape (n_channels, 2)."""
        return np.array(self._spendable, np.int64).reshape(-1, 2)

    def by_node(self) -> NDArray[np.int64]:
        """Sum of each node's balances in its channels, msat, shape (n_nodes,)."""
        total = np.zeros(self.network.n_nodes, np.int64)
        np.add.at(total, self.network.ends, self.array())
        return total

    def hops(self, route: Route, amount: int) -> list[int]:
        """Amounts (msat) that a route carries in each channel so that ``amount`` arrives, with fees on the way."""
        carried = [amount]
        for channel in reversed(route[1:]):
            carried.append(carried[-1] + self._base[channel] + carried[-1] * self._ppm[channel] // MILLION)
        return carried[::-1]

    def room(self, route: Route, locked: dict[int, int]) -> int:
        """The largest amount (msat) that can arrive by a route, 0 if none.

        ``locked`` is what other parts of the payment have taken from each directed channel, msat.
        """
        most = self._spendable[route[0]] - locked.get(route[0], 0)
        for channel in route[1:]:
            # The largest a with a + base + floor(a ppm / 10^6) <= most.
            after_fee = ((most - self._base[channel] + 1) * MILLION - 1) // (MILLION + self._ppm[channel])
            most = min(after_fee, self._spendable[channel] - locked.get(channel, 0))
        return max(most, 0)

    def send(self, routes: Sequence[Route], amount: int) -> Delivery:
        """Send an amount in parts, by each route in turn as much as it has room for: all of it or nothing.

        Parts wait for one another, as in Lightning: what one part takes from a channel is locked for the others,
        and what it brings in the other direction is theirs only once the payment is complete.

        Parameters
        ----------
        routes:
            Routes with the same two ends, best first.
        amount:
            Amount that is to arrive, msat, at least 1.

        Returns
        -------
        Delivery
            Whether all arrived, in how many parts and at what fees. If not, no balance has changed.

        Raises
        ------
        TypeError, ValueError
            If the amount is not allowed, or a route is empty or has a channel that the network has not.
        """
        amount = checks.integer("amount", amount, 1, MOST_MSAT)
        for at, route in enumerate(routes):
            if not route or min(route) < 0 or max(route) >= len(self._head):
                raise ValueError(
                    f"routes[{at}] must be directed channels in [0, {len(self._head) - 1}], at least one, got"
                    f" {route!r}"
                )
        locked: dict[int, int] = {}
        parts: list[tuple[Route, list[int]]] = []
        missing = amount
        for route in routes:
            part = min(missing, self.room(route, locked))
            if part > 0:
                carried = self.hops(route, part)
                for channel, msat in zip(route, carried, strict=True):
                    locked[channel] = locked.get(channel, 0) + msat
                parts.append((route, carried))
                missing -= part
            if missing == 0:
                break
        if missing:
            return Delivery(False, len(parts), 0, {})
        earned: dict[int, int] = {}
        for route, carried in parts:
            for channel, before, after in zip(route[1:], carried, carried[1:], strict=False):
                node = self._head[channel]
                earned[node] = earned.get(node, 0) + before - after
        for channel, msat in locked.items():
            self._spendable[channel] -= msat
            self._spendable[channel ^ 1] += msat
        return Delivery(True, len(parts), sum(carried[0] for _, carried in parts) - amount, earned)
