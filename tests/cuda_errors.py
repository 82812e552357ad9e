"""What is said and done where something is wrong on a device: errors that are seen late, and faults of the past.

:mod:`cuda_apis` plays them, on a GPU or in numba's simulator of one.
"""

import contextlib
import dataclasses
import math

import numpy as np
import torch
from cuda_plays import on_host

import mfenvs
from baselines import PPO
from mfenvs import Engine, FiniteGame, rule
from mfenvs.api.tensors import TensorPopulation
from mfenvs.engine.cuda import engine as cuda_engine
from mfenvs.engine.cuda.device import CudaDevice
from mfenvs.game import NO_PARAMETERS

EPIDEMIC = mfenvs.make("Epidemic-v0", n_agents=5, horizon=3)
TAXI = mfenvs.make("Taxi-v0", n_agents=6, horizon=4)
TRACKING = mfenvs.make("LinearQuadratic-v0", n_agents=6, horizon=3)
SMALL = {"policy_kwargs": {"net_arch": {"pi": [4], "vf": [4]}}, "n_epochs": 1, "batch_size": 8, "seed": 0}


@dataclasses.dataclass(kw_only=True)
class Paying(FiniteGame):
    """The reward of action 1 is infinite."""

    n_agents: int = 4
    horizon: int = 5
    agent_dtype = NO_PARAMETERS
    n_states = 2
    n_actions = 2
    n_branches = 1

    @staticmethod
    @rule
    def branch(branch, state, action, agent, world):
        return action, 1.0

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return math.inf if action == 1 else 0.5


@dataclasses.dataclass(kw_only=True)
class Leaving(Paying):
    """Action 1 leads to a state that does not exist."""

    @staticmethod
    @rule
    def branch(branch, state, action, agent, world):
        return 7 * action, 1.0


@dataclasses.dataclass(kw_only=True)
class Lost(Leaving):
    """Action 1 leads to a state that does not exist, and rewards are finite."""

    @staticmethod
    @rule
    def reward(state, action, agent, world):
        return 0.5


@dataclasses.dataclass(kw_only=True)
class Misplaced(Paying):
    """Action 1 leads to a state whose place does not exist."""

    n_places = 1


def error_of(call):
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def wrong_laws(engine):
    laws = np.full((2, 5, 2), 0.5, np.float32)
    laws[1, 3] = 0.5, 0.75
    return engine.draw_actions(laws)


def wrong_table(engine):
    table = np.ones((1, *EPIDEMIC.policy_shape), np.float32)
    table[0, 1, 1] = 0.75, 0.5
    return engine.sample_actions(table)


def wrong_table_of_an_agent(engine):
    table = np.ones((5, *EPIDEMIC.policy_shape), np.float32)
    table[4, 1] = math.nan
    return engine.sample_actions(torch.from_numpy(table))


WRONG_DRAWS = {"laws": wrong_laws, "table": wrong_table, "table of an agent": wrong_table_of_an_agent}


def late_errors():
    """Errors of wrong steps that nobody looks at until later steps, wrong themselves, have been taken in vain."""
    found = {}
    valid, wrong = np.zeros((2, 4), np.int32), np.ones((2, 4), np.int32)
    for name, game in (("state", Leaving()), ("place", Misplaced())):
        for n_later in (1, 2):
            engine = Engine(game, 2, device="cuda")
            engine.reset(0)
            engine.step(valid)
            before = on_host(engine.states)
            chosen = valid.copy()
            chosen[1, 2] = 1
            engine.step(chosen)
            if name == "place":
                before = on_host(engine.states)
                engine.occupancy()
            for _ in range(n_later):
                engine.step(wrong)
            found[f"{name} {n_later}"] = error_of(engine.synchronize)
            found[f"{name} {n_later} kept"] = bool((on_host(engine.states) == before).all()), engine.time
    engine = Engine(Misplaced(), 2, device="cuda")
    engine.reset(0)
    snapshot = engine.snapshot()
    before = on_host(engine.states)
    snapshot.states[...] = np.eye(2, 4, 2)
    found["snapshot"] = error_of(lambda: engine.restore(snapshot))
    found["snapshot kept"] = bool((on_host(engine.states) == before).all()), error_of(engine.synchronize)
    for n_later in (0, 1, 2):
        for name, draw in WRONG_DRAWS.items():
            engine = Engine(EPIDEMIC, 2, device="cuda")
            engine.reset(0)
            engine.step(np.zeros((2, 5), np.int32))
            before = on_host(engine.states)
            chosen = draw(engine)
            for _ in range(n_later):
                engine.step(chosen)
            found[f"{name} {n_later}"] = error_of(engine.synchronize)
            found[f"{name} {n_later} kept"] = bool((on_host(engine.states) == before).all()), engine.time
            found[f"{name} {n_later} at once"] = error_of(lambda draw=draw, engine=engine: draw(engine.on_host))
    for n_later in (1, 2):
        engine = Engine(EPIDEMIC, 2, device="cuda")
        engine.reset(0)
        before = on_host(engine.states)
        chosen = np.zeros((2, 5), np.int32)
        chosen[1, 3] = 9
        engine.step(chosen)
        for _ in range(n_later):
            engine.step(np.full((2, 5), 8))
        found[f"action {n_later}"] = error_of(engine.synchronize)
        found[f"action {n_later} kept"] = bool((on_host(engine.states) == before).all()), engine.time
    return found


def rollout_without_states(most):
    """The error of an episode in which a state does not exist, where memory that nobody wrote to holds none."""
    as_it_is, kept = CudaDevice.empty, cuda_engine.MOST_AGENTS_OF_BLOCK

    def filled(self, shape, dtype):
        array = as_it_is(self, shape, dtype)
        self.copy(np.full(array.shape, np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 9.0, dtype), array)
        return array

    CudaDevice.empty, cuda_engine.MOST_AGENTS_OF_BLOCK = filled, most
    try:
        game = Leaving(n_agents=6)
        return error_of(lambda: Engine(game, 2, device="cuda").rollout(np.full(game.policy_shape, 0.5), seed=0))
    finally:
        CudaDevice.empty, cuda_engine.MOST_AGENTS_OF_BLOCK = as_it_is, kept


def after_an_interrupted_step(game, begins_anew):
    """States and counts of a step after one that ended between its launches, and of an engine without such."""
    kept = cuda_engine.MOST_AGENTS_OF_BLOCK
    cuda_engine.MOST_AGENTS_OF_BLOCK = 0
    try:
        engines = [Engine(game, 2, device="cuda") for _ in range(2)]
        engine = engines[0]
        for each in engines:
            each.reset(0)
        snapshot = engine.snapshot()
        actions = engines[1].random_actions()
        last = engine._programs.advance if engine._sums is None else engine._programs.settle
        launch, engine._launch_for = engine._launch_for, interrupting(engine._launch_for, last)
        with contextlib.suppress(KeyboardInterrupt):
            engine.step(actions)
        engine._launch_for = launch
        if begins_anew:
            engine.reset(0)
        else:
            engine.restore(snapshot)
        for each in engines:
            each.step(actions)
        return [{"states": on_host(each.states), "counts": on_host(each.counts)} for each in engines]
    finally:
        cuda_engine.MOST_AGENTS_OF_BLOCK = kept


def interrupting(launch, program):
    """``launch``, interrupted at this program."""

    def interrupted(kernel, *arguments, **named):
        if kernel is program:
            raise KeyboardInterrupt
        launch(kernel, *arguments, **named)

    return interrupted


def untrained_by_a_wrong_rule(game):
    """The error of training on a game whose rules lead to a state that does not exist; whether nothing changed."""
    model = PPO("MlpPolicy", mfenvs.vec_env(game, 2, device="cuda"), n_steps=4, device=tensors_of(game), **SMALL)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    message = error_of(lambda: model.learn(4 * 8))
    return message, all(torch.equal(before[name], value) for name, value in model.policy.state_dict().items())


def tensors_of(game):
    """Name of the device of tensors that share memory with the engine's arrays."""
    return Engine(game, device="cuda").tensor_device


def wrong_last_step():
    """Whether an episode is over after a wrong last step, after its error, and after the step is repeated."""
    population = TensorPopulation(Leaving(horizon=2), {}, 2, device="cuda")
    population.reset(0)
    right, wrong = (torch.full((8,), action, device=population.tensor_device) for action in (0, 1))
    population.step_tensors(right)
    population.step_tensors(wrong)
    found = [population.is_over]
    error_of(population.engine.synchronize)
    found.append(population.is_over)
    population.step_tensors(right)
    population.engine.synchronize()
    return [*found, population.is_over]


BOUNDED = dataclasses.replace(TRACKING, control_bound=0.7)


def bounded_steps(device):
    """States after actions of the host in double precision, at a bound that rounding moves, and in integers."""
    engine = Engine(BOUNDED, 2, device=device)
    engine.reset(0)
    engine.step(np.full((2, 6, 1), 0.7))
    engine.step(np.zeros((2, 6, 1), np.int64))
    engine.synchronize()
    return on_host(engine.states)


class RecordingWaits:
    """A device that keeps what was copied from it, which waits for what was launched before."""

    def __init__(self, device, waits):
        self._device, self._waits = device, waits

    def __getattr__(self, name):
        return getattr(self._device, name)

    def download(self, array):
        self._waits.append(array)
        return self._device.download(array)


def later_looks():
    """What is said where an error is looked at in other ways, and what engines do with unusual arguments."""
    found = {"one device": Engine(TAXI, device="cuda")._device is Engine(EPIDEMIC, device="cuda")._device}
    for name in ("states", "counts", "returns", "signal"):
        engine = Engine(EPIDEMIC, 2, device="cuda")
        engine.keep_returns()
        engine.reset(0)
        engine.step(np.full((2, 5), 7))
        found[f"look at {name}"] = error_of(lambda name=name, engine=engine: getattr(engine.on_host, name))
    engine = Engine(EPIDEMIC, 2, device="cuda")
    engine.reset(0)
    wrong_laws(engine)
    engine.random_actions()
    found["another draw"] = error_of(engine.synchronize)
    found["box"] = bounded_steps("cuda")
    doubles = torch.zeros(2, 6, 1, dtype=torch.float64, device=tensors_of(BOUNDED))
    engine = Engine(BOUNDED, 2, device="cuda")
    engine.reset(0)
    found["doubles"] = type_error(lambda: engine.step(doubles))
    engine = Engine(EPIDEMIC, 2, device="cuda")
    engine._device.copy(np.array([1, 0]), onto=engine._status)
    engine.reset(0)
    engine.step(np.zeros((2, 5), np.int32))
    engine.synchronize()
    found["error before the first episode"] = engine.time
    engine = Engine(EPIDEMIC, 2, device="cuda")
    engine._device.copy(np.array([1, 0]), onto=engine._status)
    run = engine.rollout(np.full(EPIDEMIC.policy_shape, 0.5), seed=0)
    found["rollout before the first episode"] = run.counts.sum(axis=-1)
    waits = []
    engine._device, device = RecordingWaits(engine._device, waits), engine._device
    engine.synchronize()
    engine.synchronize()
    engine._device = device
    found["waits"] = len(waits)
    return found


def faults():
    """What once went wrong on a device, and looked right."""
    found = {f"rollout {most}": rollout_without_states(most) for most in (0, 4096)}
    for name, game in (("counted", EPIDEMIC), ("weighed", TRACKING), ("aggregated", TAXI)):
        for begins_anew in (True, False):
            found[f"interrupted {name} {begins_anew}"] = after_an_interrupted_step(game, begins_anew)
    found["wrong rule"] = untrained_by_a_wrong_rule(Lost(horizon=50))
    found["wrong rule and rewards"] = untrained_by_a_wrong_rule(Leaving(horizon=50))
    found["wrong last step"] = wrong_last_step()
    return found | later_looks()


def type_error(call):
    try:
        call()
    except TypeError as error:
        return str(error)
    return ""
