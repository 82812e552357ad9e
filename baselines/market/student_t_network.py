"""A neural network that predicts the location, scale and degrees of freedom of a Student-t law (needs torch)."""

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.distributions import Distribution, Normal, StudentT
from torch.nn.functional import softplus

from mfenvs import checks
from mfenvs.energy.linear_forecasters import (
    HORIZON,
    LONGEST_LAG_DAYS,
    SCALE_FLOOR,
    Forecast,
    known_series,
    regressors,
    training_series,
)

LEAST_DEGREES_OF_FREEDOM = 2.0
"""With more the variance is finite."""


class StudentTHead:
    """A multilayer perceptron with a heteroscedastic Student-t head: mu(x), sigma(x) and nu(x) > 2 [S].

    It reads what the linear models read (:func:`mfenvs.energy.linear_forecasters.regressors`), and minimises the
    negative log-likelihood by Adam, until the likelihood of the last days of the series, which it does not learn
    from, has not improved for ``patience`` epochs; the best parameters are kept [O]. On one thread; the same seed
    gives the same forecasts and leaves torch's own random numbers as they were.

    Parameters
    ----------
    gaussian:
        Whether nu is fixed to inf, for a Gaussian head.
    hidden:
        Units of each of the two hidden layers.
    learning_rate, weight_decay:
        Of Adam with decoupled weight decay.
    batch_size:
        Hours in a minibatch.
    max_epochs:
        Most passes over the training hours.
    patience:
        Epochs without improvement after which learning ends.
    validation_share:
        Last share of the days that learning is stopped by, in (0, 1).
    seed:
        Of the first weights and the order of the minibatches.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """

    network: nn.Module
    mean: float
    deviation: float
    n_epochs: int
    """Passes over the training hours that the kept parameters took."""

    def __init__(
        self,
        *,
        gaussian: bool = False,
        hidden: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 256,
        max_epochs: int = 200,
        patience: int = 15,
        validation_share: float = 0.15,
        seed: int = 0,
    ) -> None:
        self.gaussian = checks.choice("gaussian", gaussian, (False, True))
        self.hidden = checks.integer("hidden", hidden, 1)
        self.learning_rate = checks.real("learning_rate", learning_rate, 0.0, exclude_low=True)
        self.weight_decay = checks.real("weight_decay", weight_decay, 0.0)
        self.batch_size = checks.integer("batch_size", batch_size, 1)
        self.max_epochs = checks.integer("max_epochs", max_epochs, 1)
        self.patience = checks.integer("patience", patience, 1)
        self.validation_share = checks.real(
            "validation_share", validation_share, 0.0, 1.0, exclude_low=True, exclude_high=True
        )
        self.seed = checks.integer("seed", seed, 0, 2**63 - 1)

    def fit(self, series: ArrayLike) -> Self:
        """Learn the network; see :class:`mfenvs.energy.linear_forecasters.Forecaster`."""
        values = training_series(series)
        self.mean, self.deviation = float(values.mean()), float(values.std())
        standard = (values - self.mean) / self.deviation
        first = HORIZON * LONGEST_LAG_DAYS
        inputs = torch.from_numpy(regressors(standard, first, len(values) - first))
        targets = torch.from_numpy(standard[first:])
        n_days = len(targets) // HORIZON
        n_learned = HORIZON * max(1, n_days - max(1, round(self.validation_share * n_days)))
        with _one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._learn(inputs[:n_learned], targets[:n_learned], inputs[n_learned:], targets[n_learned:])
        return self

    def predict(self, series: ArrayLike, first_day: int, n_days: int = 1) -> Forecast:
        """Forecast whole days; see :class:`mfenvs.energy.linear_forecasters.Forecaster`."""
        if not hasattr(self, "network"):
            raise RuntimeError("fit the forecaster before it predicts")
        values, first, n = known_series(series, first_day, n_days)
        standard = (values - self.mean) / self.deviation
        with _one_thread(), torch.no_grad():
            location, scale, nu = _head(self.network(torch.from_numpy(regressors(standard, first, n))))
        return Forecast(
            self.mean + self.deviation * _array(location),
            self.deviation * _array(scale),
            np.asarray(math.inf) if self.gaussian else _array(nu),
        )

    def _learn(self, inputs: Tensor, targets: Tensor, later_inputs: Tensor, later_targets: Tensor) -> None:
        network = nn.Sequential(
            nn.Linear(inputs.shape[1], self.hidden),
            nn.Tanh(),
            nn.Linear(self.hidden, self.hidden),
            nn.Tanh(),
            nn.Linear(self.hidden, 3),
        ).double()
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        best, best_loss, self.n_epochs = copy.deepcopy(network.state_dict()), math.inf, 0
        for epoch in range(1, self.max_epochs + 1):
            for batch in torch.split(torch.randperm(len(targets)), self.batch_size):
                optimizer.zero_grad()
                self._loss(network, inputs[batch], targets[batch]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            with torch.no_grad():
                loss = float(self._loss(network, later_inputs, later_targets))
            if loss < best_loss:
                best, best_loss, self.n_epochs = copy.deepcopy(network.state_dict()), loss, epoch
            elif epoch - self.n_epochs >= self.patience:
                break
        network.load_state_dict(best)
        self.network = network

    def _loss(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        location, scale, nu = _head(network(inputs))
        law: Distribution = Normal(location, scale) if self.gaussian else StudentT(nu, location, scale)
        return -law.log_prob(targets).mean()


def _head(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Location, scale and degrees of freedom from a network's three outputs, shape (n, 3)."""
    location, scale, nu = outputs.unbind(dim=-1)
    return location, SCALE_FLOOR + softplus(scale), LEAST_DEGREES_OF_FREEDOM + softplus(nu)


def _array(values: Tensor) -> NDArray[np.float64]:
    return np.asarray(values.numpy(), np.float64)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """More threads than cores that are free only spin, and change the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
