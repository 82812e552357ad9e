"""Day-ahead forecasts by a neural network, which predicts location, scale and degrees of freedom (needs torch)."""

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
from mfenvs.energy.forecast import HORIZON, Forecast, known_series, training_series
from mfenvs.energy.linear_forecasters import LONGEST_LAG_DAYS, SCALE_FLOOR, regressors

LEAST_DEGREES_OF_FREEDOM = 2.0
"""Degrees of freedom are above this, so that the variance is finite."""

MOST_HIDDEN, MOST_BATCH = 65_536, 2**31 - 1
"""Most units of a hidden layer, and most hours in a minibatch."""


class StudentTHead:
    """A multilayer perceptron with a heteroscedastic Student-t head: location, scale and degrees of freedom > 2.

    It is the neural forecaster of the tutorial "Math Deep Dive: Understanding Mean-Field-Type Games" [S]. It reads
    the regressors of the linear models (:func:`mfenvs.energy.linear_forecasters.regressors`) and minimises the
    negative log-likelihood by Adam, until the likelihood of the last days of the series, which it does not learn
    from, has not improved for ``patience`` epochs. The parameters of the best epoch are kept (early stopping [O]).
    It runs on one thread; the same seed gives the same forecasts and leaves torch's own random numbers as they
    were.

    Parameters
    ----------
    gaussian:
        Whether the degrees of freedom are fixed to infinity, for a Gaussian head.
    hidden:
        Units of each of the two hidden layers, 1 to 65,536.
    learning_rate:
        Learning rate of Adam, > 0.
    weight_decay:
        Decoupled weight decay of Adam (AdamW), >= 0.
    batch_size:
        Hours in a minibatch, at least 1.
    max_epochs:
        Most passes over the training hours, at least 1.
    patience:
        Number of epochs without improvement after which learning ends, at least 1.
    validation_share:
        Share of the days, the last ones, whose likelihood stops learning, in (0, 1).
    seed:
        Random seed of the initial weights and the order of the minibatches, >= 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    """

    network: nn.Module
    mean: float
    """Mean of the training series, in its unit."""
    deviation: float
    """Standard deviation of the training series, in its unit."""
    n_epochs: int
    """Number of passes over the training hours that led to the kept parameters."""

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
        self.gaussian = checks.boolean("gaussian", gaussian)
        self.hidden = checks.integer("hidden", hidden, 1, MOST_HIDDEN)
        self.learning_rate = checks.real("learning_rate", learning_rate, 0.0, exclude_low=True)
        self.weight_decay = checks.real("weight_decay", weight_decay, 0.0)
        self.batch_size = checks.integer("batch_size", batch_size, 1, MOST_BATCH)
        self.max_epochs = checks.integer("max_epochs", max_epochs, 1)
        self.patience = checks.integer("patience", patience, 1)
        self.validation_share = checks.real(
            "validation_share", validation_share, 0.0, 1.0, exclude_low=True, exclude_high=True
        )
        self.seed = checks.integer("seed", seed, 0, 2**63 - 1)

    def fit(self, series: ArrayLike) -> Self:
        """Learn the network; see :class:`mfenvs.energy.forecast.Forecaster`.

        Raises
        ------
        TypeError, ValueError
            If ``series`` is none to learn from (:func:`mfenvs.energy.forecast.training_series`), or learning
            diverges, so that the loss is not finite. The forecaster then is as it was.
        """
        values = training_series(series)
        mean, deviation = float(values.mean()), float(values.std())
        standard = (values - mean) / deviation
        first = HORIZON * LONGEST_LAG_DAYS
        inputs = torch.from_numpy(regressors(standard, first, len(values) - first))
        targets = torch.from_numpy(standard[first:])
        n_days = len(targets) // HORIZON
        n_learned = HORIZON * max(1, n_days - max(1, round(self.validation_share * n_days)))
        with _one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network, self.n_epochs = self._learned(
                inputs[:n_learned], targets[:n_learned], inputs[n_learned:], targets[n_learned:]
            )
        self.mean, self.deviation = mean, deviation
        return self

    def predict(self, series: ArrayLike, first_day: int, n_days: int = 1) -> Forecast:
        """Forecast whole days; see :class:`mfenvs.energy.forecast.Forecaster`."""
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

    def _learned(
        self, inputs: Tensor, targets: Tensor, later_inputs: Tensor, later_targets: Tensor
    ) -> tuple[nn.Module, int]:
        """The network with the parameters of the best epoch, and the number of that epoch."""
        network = nn.Sequential(
            nn.Linear(inputs.shape[1], self.hidden),
            nn.Tanh(),
            nn.Linear(self.hidden, self.hidden),
            nn.Tanh(),
            nn.Linear(self.hidden, 3),
        ).double()
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        best, best_loss, best_epoch = copy.deepcopy(network.state_dict()), math.inf, 0
        for epoch in range(1, self.max_epochs + 1):
            for batch in torch.split(torch.randperm(len(targets)), self.batch_size):
                optimizer.zero_grad()
                self._loss(network, inputs[batch], targets[batch]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            with torch.no_grad():
                loss = float(self._loss(network, later_inputs, later_targets))
            if not math.isfinite(loss):
                raise ValueError(
                    f"learning diverged: the loss is {loss} after epoch {epoch} with"
                    f" learning_rate={self.learning_rate:g}; a lower one may help"
                )
            if loss < best_loss:
                best, best_loss, best_epoch = copy.deepcopy(network.state_dict()), loss, epoch
            elif epoch - best_epoch >= self.patience:
                break
        network.load_state_dict(best)
        return network, best_epoch

    def _loss(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        location, scale, nu = _head(network(inputs))
        law: Distribution = (
            Normal(location, scale, validate_args=False)
            if self.gaussian
            else StudentT(nu, location, scale, validate_args=False)
        )
        return -law.log_prob(targets).mean()


def _head(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Location, scale and degrees of freedom from a network's three outputs, shape (n, 3)."""
    location, scale, nu = outputs.unbind(dim=-1)
    return location, SCALE_FLOOR + softplus(scale), LEAST_DEGREES_OF_FREEDOM + softplus(nu)


def _array(values: Tensor) -> NDArray[np.float64]:
    return np.asarray(values.numpy(), np.float64)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: more threads than free cores only spin, and change the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
