"""What APIs and trainers do on a device; run as a script on a GPU, or in numba's simulator of one.

``python cuda_apis.py OUT`` plays on a CUDA device (a simulated one with NUMBA_ENABLE_CUDASIM=1) and pickles what
it saw to OUT.
"""

import contextlib
import dataclasses
import math
import pickle
import sys
from pathlib import Path

import cuda_plays
import numpy as np
import torch
from cuda_plays import on_host

import mfenvs
from baselines import PPO, SymmPMD
from baselines.callbacks import ExploitabilityCallback
from baselines.policy_measures import MeasurementSettings, measure_policy
from baselines.tabular.temporal_difference import TDLearning
from mfenvs import Engine, FiniteGame, rule
from mfenvs.api.gymnasium import RepresentativeAgentEnv
from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.api.tensors import TensorPopulation
from mfenvs.engine import model
from mfenvs.engine.cuda import engine as cuda_engine
from mfenvs.engine.cuda.device import CudaDevice
from mfenvs.engine.tensors import as_torch
from mfenvs.game import NO_PARAMETERS
from mfenvs.meanfield.relative_exploitability import relative_exploitability

EPIDEMIC = mfenvs.make("Epidemic-v0", n_agents=5, horizon=3)
TAXI = mfenvs.make("Taxi-v0", n_agents=6, horizon=4)
MASKED = mfenvs.make("DynamicRouting-v0", n_agents=4, horizon=4)
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


def tensordicts(device, game, steps, **options):
    """Episodes of random actions in TorchRL."""
    env = mfenvs.torchrl_env(game, 2, seed=0, device=device, return_state=True, **options)
    drawing = mfenvs.torchrl_env(game, 2)  # On the CPU: torch's generators of other devices draw other numbers.
    torch.manual_seed(0)

    def draw(tensordict):
        return tensordict.update(drawing.full_action_spec.rand().to(env.device))

    run = env.rollout(steps, draw, break_when_any_done=False)
    return {".".join(key) if isinstance(key, tuple) else key: on_host(run[key]) for key in run.keys(True, True)}


def arrays(device):
    """Steps of our VecEnv for Stable-Baselines3 and of our VectorEnv for gymnasium, over the end of an episode."""
    found = {}
    rng = np.random.default_rng(1)
    env = mfenvs.vec_env(TAXI, 2, device=device, observe="mean-field")
    env.seed(4)
    found["reset"] = env.reset()
    for h in range(5):
        found[f"masks {h}"] = env.action_masks()
        observations, rewards, dones, infos = env.step(rng.integers(0, TAXI.action_space.n, 12))
        found |= {f"observed {h}": observations, f"rewards {h}": rewards, f"dones {h}": dones}
        for name in infos[0]:
            found[f"{name} {h}"] = np.array([info[name] for info in infos])
    message = error_of(lambda: env.step(np.full(12, 99)))
    found["error"] = np.array([part in message for part in ("actions[0, 0]", "must be in [0, 4], got 99")])
    vector = mfenvs.vector_env(EPIDEMIC, 2, device=device, observe=["integer-identity", "mean-field"])
    found["vector"], _ = vector.reset(seed=5)
    for h in range(4):
        observations, rewards, *_ = vector.step(rng.integers(0, 2, 10))
        found |= {f"vector observed {h}": observations, f"vector rewards {h}": rewards}
    found["state"] = vector._population.state()
    return found


def trained(device):
    """Networks, tables and Q values after some learning."""
    found = {}
    cut = mfenvs.vec_env(EPIDEMIC, 2, device=device, observe="mean-field", max_episode_steps=2)
    box = mfenvs.vec_env(TRACKING, 2, device=device, observe=["own-parameters", "type-means"])
    for name, policy, env in (("discrete", "MlpPolicy", cut), ("box", "UnitBoxPolicy", box)):
        model = PPO(policy, env, n_steps=5, device="cpu", **SMALL).learn(2 * 5 * env.num_envs)
        found |= {f"{name} {key}": on_host(value) for key, value in model.policy.state_dict().items()}
        found |= {f"{name} {key}": np.array(value) for key, value in model.measured.items() if "time" not in key}
        found[f"{name} returns"], found[f"{name} last"] = model._returns, model._last_obs
    for name, trainer in (("pmd", SymmPMD), ("td", TDLearning)):
        learner = trainer(EPIDEMIC, episodes=3, device=device)
        learner.learn(2 * learner.timesteps_per_iteration)
        found |= {f"{name} {key}": value for key, value in learner._state().items()}
    return found


def evaluated(device):
    """Measures of policies of three kinds."""
    model = PPO("MlpPolicy", mfenvs.vec_env(EPIDEMIC, observe="mean-field"), device="cpu", **SMALL)
    table = np.full(EPIDEMIC.policy_shape, 0.5)
    found = {
        name: mfenvs.evaluate(EPIDEMIC, policy, n_worlds=3, device=device).returns
        for name, policy in (("network", model), ("table", table), ("random", None))
    }
    settings = MeasurementSettings(n_worlds=3, deviators_per_world=2, device=device)
    measured = measure_policy(EPIDEMIC, table, settings).summary
    measured["gain"] = mfenvs.deviation_gain(EPIDEMIC, table, model, n_worlds=3, device=device).value
    relative = relative_exploitability(EPIDEMIC, table, n_joint_states=2, n_worlds=2, device=device)
    measured |= {f"C {key}": value for key, value in relative.summary().items()}
    callback = ExploitabilityCallback(n_worlds=2, deviators_per_world=1, device=device)
    SymmPMD(EPIDEMIC, episodes=2).learn(1, callback)
    ((_, exploitability),) = callback.measured
    measured |= {f"callback {key}": value for key, value in exploitability.summary().items()}
    return found | {f"measured {key}": np.array(value) for key, value in measured.items()}


def single_agents(device):
    """Steps of agents among a population, and of PettingZoo's dicts."""
    found = {}
    table = np.random.default_rng(2).dirichlet([1.0, 1.0], EPIDEMIC.policy_shape[:2])
    alone = RepresentativeAgentEnv(TAXI, observe="mean-field", device=device)
    several = RepresentativeVecEnv(EPIDEMIC, table, None, 2, 2, device=device)
    dicts = mfenvs.parallel_env(MASKED, observe="integer-identity", device=device)
    found["alone"], info = alone.reset(seed=3)
    several.seed(3)
    found["several"] = several.reset()
    seen, infos = dicts.reset(seed=3)
    for h in range(3):
        found |= {f"alone {h} {name}": np.array(value) for name, value in info.items()}
        found |= {f"{name} {h}": row for name, row in seen.items()}
        found |= {f"{name} {h} {key}": np.array(info[key]) for name, info in infos.items() for key in info}
        found[f"alone {h}"], reward, _, _, info = alone.step(h)
        found[f"several {h}"], rewards, *_ = several.step(np.array([h % 2, 1, 0, 1]))
        seen, paid, _, _, infos = dicts.step({name: (h + i) % 2 for i, name in enumerate(dicts.agents)})
        found |= {f"paid {h}": np.array([reward, *rewards, *paid.values()])}
    return found


def refused(device):
    """Errors of rewards that are infinite."""
    env = mfenvs.vec_env(Paying(), 2, device=device)
    model = PPO("MlpPolicy", env, n_steps=4, device="cpu", **SMALL)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    message = error_of(lambda: model.learn(64))
    kept = all(torch.equal(before[name], value) for name, value in model.policy.state_dict().items())
    return {"message": np.array(message), "kept": np.array(kept)}


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


def untrained_by_a_wrong_rule():
    """The error of training on a game whose rules lead to a state that does not exist; whether nothing changed."""
    game = Lost(horizon=50)
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
    return found


def faults():
    """What once went wrong on a device, and looked right."""
    found = {f"rollout {most}": rollout_without_states(most) for most in (0, 4096)}
    for name, game in (("counted", EPIDEMIC), ("weighed", TRACKING), ("aggregated", TAXI)):
        for begins_anew in (True, False):
            found[f"interrupted {name} {begins_anew}"] = after_an_interrupted_step(game, begins_anew)
    found["wrong rule"] = untrained_by_a_wrong_rule()
    found["wrong last step"] = wrong_last_step()
    return found | later_looks()


def copies():
    """Number of copies to and from the device in steps of TorchRL, and in rollouts of PPO by their length."""
    number = [0]

    def counting(method):
        def counted(*arguments, **named):
            number[0] += 1
            return method(*arguments, **named)

        return counted

    def tallied(counts, name, method):
        def counted(*arguments, **named):
            counts[name] += 1
            return method(*arguments, **named)

        return counted

    kept = {name: getattr(CudaDevice, name) for name in ("upload", "download", "copy")}
    game = dataclasses.replace(EPIDEMIC, horizon=20)
    env = mfenvs.torchrl_env(game, 2, seed=0, device="cuda", observe=["one-hot-identity", "mean-field"])
    now = env.rand_action(env.reset())
    engines = [Engine(played, 2, device="cuda") for played in (game, TAXI, TRACKING)]
    table = np.full((1, *game.policy_shape), 1.0, np.float32)
    own_table = torch.ones(5, *game.policy_shape, device=engines[0].tensor_device)
    laws = torch.full((2, 5, 2), 0.5, device=engines[0].tensor_device)
    for engine in engines:
        engine.reset(0)
        engine.random_actions()
    engines[0].sample_actions(table)
    vec = mfenvs.vec_env(game, 2, device="cuda")
    vector = mfenvs.vector_env(game, 2, device="cuda")
    alone = RepresentativeAgentEnv(game, table[0] / 2.0, device="cuda")
    dicts = mfenvs.parallel_env(game, device="cuda")
    vec.seed(0)
    vec.reset()
    for made in (vector, alone, dicts):
        made.reset(seed=0)
    alone.step(0)
    routes = {
        "vec_env": lambda: vec.step(np.zeros(10, np.int32)),
        "vector_env": lambda: vector.step(np.zeros(10, np.int32)),
        "representative agent": lambda: alone.step(0),
        "PettingZoo": lambda: dicts.step(dict.fromkeys(dicts.agents, 0)),
    }
    models = {
        n: PPO(
            "MlpPolicy",
            mfenvs.vec_env(game, 2, device="cuda"),
            n_steps=n,
            device=engines[0].tensor_device,
            **SMALL,
        )
        for n in (2, 6)
    }
    found = {}
    try:
        for name, method in kept.items():
            setattr(CudaDevice, name, counting(method))
        env.step(now)
        found["torchrl"] = number[0]
        number[0] = 0
        for engine in engines:
            for _ in range(2):
                engine.step(engine.random_actions())
                engine.observe()
                if engine.game is not TRACKING:
                    engine.action_masks()
                    engine.occupancy()
        found["random actions"] = number[0]
        number[0] = 0
        for draw in (
            lambda: engines[0].sample_actions(table),
            lambda: engines[0].sample_actions(own_table),
            lambda: engines[0].draw_actions(laws),
        ):
            engines[0].step(draw())
        found["tables and laws"] = number[0]
        number[0] = 0
        engines[0].sample_actions(table.copy())
        engines[0].sample_actions(np.cumsum(np.full_like(table, 0.5), axis=-1))
        found["another table"] = number[0]
        for name, step in routes.items():
            counts = dict.fromkeys(kept, 0)
            for method, original in kept.items():
                setattr(CudaDevice, method, tallied(counts, method, original))
            step()
            found[name] = counts
        for name, method in kept.items():
            setattr(CudaDevice, name, counting(method))
        for n, learner in models.items():
            _, callback = learner._setup_learn(100)
            number[0] = 0
            assert learner.collect_rollouts(learner.env, callback, learner.rollout_buffer, n)
            found[f"ppo {n}"] = number[0]
    finally:
        for name, method in kept.items():
            setattr(CudaDevice, name, method)
    return found


def shared_memory():
    """Whether tensors and the engine's arrays are the same memory, both ways."""
    engine = Engine(EPIDEMIC, 2, device="cuda")
    engine.reset(0)
    states = as_torch(engine.states, engine.tensor_device)
    states.fill_(1)
    out = torch.zeros(2, 5, EPIDEMIC.n_features, device=engine.tensor_device)
    engine.observe(out)
    policy = np.full(EPIDEMIC.policy_shape, 0.5)
    run, copied = engine.rollout_on_device(policy, seed=6), engine.rollout(policy, seed=6)
    on_device = {
        name: on_host(as_torch(getattr(run, name), engine.tensor_device)).swapaxes(0, 1)
        for name in ("states", "actions", "rewards", "counts")
    }
    wide = torch.zeros(2, 5, EPIDEMIC.n_features + 3, device=engine.tensor_device)
    engine.observe(wide[..., 1:-2])
    return {
        "states": bool((on_host(engine.states) == 1).all()),
        "out": on_host(out),
        "run": [(on_device[name], getattr(copied, name)) for name in on_device],
        "wide": on_host(wide),
        "records": type_error(lambda: as_torch(np.zeros(2, [("a", "i4")]))),
    }


def type_error(call):
    try:
        call()
    except TypeError as error:
        return str(error)
    return ""


COMPARED = {
    "torchrl_blocks": lambda device: tensordicts(device, EPIDEMIC, 7, observe=["one-hot-identity", "mean-field"]),
    "torchrl_masks": lambda device: tensordicts(device, TAXI, 5),
    "torchrl_box": lambda device: tensordicts(device, TRACKING, 4, observe=["own-parameters", "type-means"]),
    "arrays": arrays,
    "trained": trained,
    "evaluated": evaluated,
    "single_agents": single_agents,
    "refused": refused,
}
"""Functions that play on a device and return arrays by name, the same on all devices."""


def read_fields_by_name():
    """Let kernels of the mean-field side, which are Python functions in the simulator, read fields of records."""

    def widened(records):
        return widen(records).view(np.recarray)

    widen = model.in_double_precision
    for module in list(sys.modules.values()):
        if getattr(module, "in_double_precision", None) is widen:
            module.in_double_precision = widened


def main():
    if CudaDevice.is_simulated:
        read_fields_by_name()
        cuda_plays.simulate_compiled_arithmetic()
        cuda_plays.use_few_threads()
    found = {name: play("cuda") for name, play in COMPARED.items()}
    found |= {"errors": late_errors(), "copies": copies(), "memory": shared_memory(), "faults": faults()}
    Path(sys.argv[1]).write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main()
