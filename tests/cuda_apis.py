"""What APIs and trainers do on a device; run as a script on a GPU, or in numba's simulator of one.

``python cuda_apis.py OUT`` plays on a CUDA device (a simulated one with NUMBA_ENABLE_CUDASIM=1) and pickles what
it saw to OUT.
"""

import dataclasses
import pickle
import sys
from pathlib import Path

import cuda_plays
import numpy as np
import torch
from cuda_errors import EPIDEMIC, SMALL, TAXI, TRACKING, Paying, error_of, faults, late_errors, type_error
from cuda_plays import on_host

import mfenvs
from baselines import PPO, SymmPMD
from baselines.callbacks import ExploitabilityCallback
from baselines.policy_measures import MeasurementSettings, measure_policy
from baselines.tabular.temporal_difference import TDLearning
from mfenvs import Engine
from mfenvs.api.gymnasium import RepresentativeAgentEnv
from mfenvs.api.sb3 import RepresentativeVecEnv
from mfenvs.engine import model
from mfenvs.engine.cuda.device import CudaDevice
from mfenvs.engine.tensors import as_torch
from mfenvs.meanfield.relative_exploitability import relative_exploitability

MASKED = mfenvs.make("DynamicRouting-v0", n_agents=4, horizon=4)


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
