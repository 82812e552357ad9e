"""TorchRL: the worlds of a game as the batch of one native environment, with the agents as an axis of its tensors.

Tensors share the memory of arrays that the engine has just written, on the CPU and on a CUDA device, and that
nobody writes to again.
"""

import collections
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mfenvs import checks
from mfenvs.api.parameters import with_common_parameters
from mfenvs.api.population import checked_seed, drawn_seed
from mfenvs.api.view import PopulationView
from mfenvs.game import Game
from mfenvs.registry import name_of
from mfenvs.wrappers.observations import Observe

try:
    import torch
    from tensordict import TensorDict, TensorDictBase
    from torchrl.data import Binary, Bounded, Categorical, Composite, TensorSpec, Unbounded
    from torchrl.envs import EnvBase
    from torchrl.envs.utils import MarlGroupMapType

    from mfenvs.api.tensors import TensorPopulation
except ModuleNotFoundError as error:
    raise ImportError("torchrl_env needs torchrl: pip install torchrl") from error

GroupMap: TypeAlias = MarlGroupMapType | str | Mapping[str, Sequence[str]] | None
"""The argument ``group_map``: which agents share the tensors of a group."""

ALL_AGENTS = "agents"
"""Name of the group of all agents."""

DONE_KEYS = "done", "terminated", "truncated"

ENTRIES = *DONE_KEYS, "action", "info", "next", "reward", "state", "_reset", "_step"
SPEC_ATTRIBUTES = "device", "dtype", "shape", "space"
RESERVED = {*ENTRIES, *SPEC_ATTRIBUTES}
"""Names that no group can have: other entries, and attributes of specs."""

new_tensordict = TensorDict._new_unsafe
"""TensorDict without its checks, which take longer than a step of a thousand agents."""


@with_common_parameters
class PopulationTorchRLEnv(PopulationView, EnvBase):  # type: ignore[misc]  # TorchRL is untyped
    """All worlds of a game as one batched TorchRL environment, batch size (n_worlds,).

    All agents are one group ``"agents"``, and N is an axis of its tensors: a policy network that is applied to
    them is shared by all agents (parameter sharing). The entries:

    ``("agents", "observation")``
        float32, shape (n_worlds, n_agents, width).
    ``("agents", "action")``
        Discrete: int64, shape (n_worlds, n_agents); a Box: float32, shape (n_worlds, n_agents, *shape of the Box).
    ``("agents", "action_mask")``
        bool, shape (n_worlds, n_agents, n_actions), if the game has action masks: False for an action of no use
        now. Such an action may be taken nevertheless. Policies of ``torchrl.modules.MaskedCategorical`` keep to
        the masks; so do random actions of ``rollout`` under TorchRL's transform ``ActionMask``.
    ``("agents", "reward")``
        float32, shape (n_worlds, n_agents, 1).
    ``"done"``, ``"terminated"``, ``"truncated"``
        bool, shape (n_worlds, 1), at the root.
    ``("info", name)``
        float32, shape (n_worlds, 1): the share of agents in each of the game's regions, and the entries that the
        game reports.
    ``"state"``
        With ``return_state``: float32, shape (n_worlds, width of the state).

    {horizon}

    The worlds are reset together too: a partial ``"_reset"`` is an error. Actions outside their space are an error
    too, and no world has moved then.

    Parameters
    ----------
    {game}
    {n_worlds}
    {observe}
    group_map:
        Which agents share the tensors of a group. None, or TorchRL's ``MarlGroupMapType.ALL_IN_ONE_GROUP``: all
        are in the group ``"agents"``; ``"types"``: there is a group for each type of agents, which are named
        ``<type>_<int>``, if there are several types; ``MarlGroupMapType.ONE_GROUP_PER_AGENT``; or a mapping from
        each group's name to the names of its agents. Every group has an axis of agents, also one of one agent.
    return_state:
        Whether to show the population as one vector, ``"state"``, for centralised critics: the share of agents in
        each place, or the mean observation where the game has no rule ``place``; then the elapsed time.
    return_infos:
        Whether to show ``"info"``, if the game has regions or reports entries.
    seed:
        Random seed of the episodes, as of ``set_seed``; None for a random one.
    device:
        Device of the tensors. On ``"cpu"``, and on ``"cuda"`` or ``"cuda:<number>"`` (a GPU of NVIDIA, with the
        extra ``cuda``), the worlds are simulated there too, and no tensor is copied. For another device of torch
        they are simulated on the CPU, and tensors are copied.
    {render_mode}
    {debug}
    {max_episode_steps}
    {constants}

    Raises
    ------
    {argument errors}
    {device errors}
    """

    _population: TensorPopulation

    def __init__(
        self,
        game: str | Game,
        n_worlds: int = 1,
        *,
        observe: Observe = (),
        group_map: GroupMap = None,
        return_state: bool = False,
        return_infos: bool = True,
        seed: int | None = None,
        device: Any = "cpu",
        render_mode: str | None = None,
        debug: bool = False,
        max_episode_steps: int | None = None,
        **constants: Any,
    ) -> None:
        of_tensors = _checked_device(device)
        population = TensorPopulation(
            game,
            constants,
            n_worlds,
            observe=observe,
            max_steps=max_episode_steps,
            render_mode=render_mode,
            debug=debug,
            device=of_tensors if of_tensors.type == "cuda" else "cpu",
        )
        n_worlds = population.engine.n_worlds
        if of_tensors.type == "cuda":
            of_tensors = population.tensor_device
        super().__init__(device=of_tensors, batch_size=torch.Size([n_worlds]))
        self._show(population)
        self.n_agents = self.game.n_agents
        self.agent_names = self.game.agent_names
        self.return_state = checks.boolean("return_state", return_state)
        self.group_map = named_groups(group_map, self.agent_names)
        """Names of the agents of each group, in the order of its tensors."""
        members = [_members(self.agent_names, names) for names in self.group_map.values()]
        places = _places(members, self.n_agents)
        # Indices are copied to the device once, and not in every step.
        where = population.tensor_device
        self._places = None if places is None else torch.from_numpy(places).to(where)
        indices = [rows if isinstance(rows, slice) else torch.from_numpy(rows).to(where) for rows in members]
        sizes = (torch.Size([n_worlds, len(names)]) for names in self.group_map.values())
        self._groups = list(zip(self.group_map, indices, sizes, strict=True))
        """Each group's name, its agents' indices and the size of its batch."""
        self._next_seed = checked_seed(seed)
        self._told = population.report_names if checks.boolean("return_infos", return_infos) else []
        self._make_specs()

    @property
    def max_steps(self) -> int:
        """Number of steps of an episode."""
        return min(self._population.max_steps, self.game.horizon)

    def extra_repr(self) -> str:
        """The game and the sizes, for ``repr``."""
        return (
            f"{name_of(self.game) or self.game.kind}, n_worlds={self.n_worlds}, n_agents={self.n_agents},"
            f" device={self.device}"
        )

    def _make_specs(self) -> None:
        population = self._population
        on: dict[str, Any] = {"device": self.device}
        observations, actions, rewards = (Composite(shape=self.batch_size, **on) for _ in range(3))
        for name, _, size in self._groups:
            seen = {"observation": _spec(population.observation_space, size, **on)}
            if population.has_masks:
                n_actions = int(self.game.action_space.n)  # type: ignore[attr-defined]
                seen["action_mask"] = Binary(n_actions, shape=(*size, n_actions), dtype=torch.bool, **on)
            observations[name] = Composite(seen, shape=size, **on)
            actions[name] = Composite({"action": _spec(population.action_space, size, **on)}, shape=size, **on)
            reward = Unbounded(shape=(*size, 1), **on)
            rewards[name] = Composite({"reward": reward}, shape=size, **on)
        column = self.n_worlds, 1
        if self.return_state:
            observations["state"] = _spec(population.state_space, self.batch_size, **on)
        if self._told:
            told = {name: Unbounded(shape=column, **on) for name in self._told}
            observations["info"] = Composite(told, shape=self.batch_size, **on)
        flags = {key: Categorical(2, shape=column, dtype=torch.bool, **on) for key in DONE_KEYS}
        self.full_observation_spec, self.full_action_spec, self.full_reward_spec = observations, actions, rewards
        self.full_done_spec = Composite(flags, shape=self.batch_size, **on)

    def _set_seed(self, seed: int | None) -> None:
        """The next reset begins the first episode of this seed, or of a random one."""
        self._next_seed = drawn_seed() if seed is None else checked_seed(seed)

    def _reset(self, tensordict: TensorDictBase | None = None, *, seed: int | None = None) -> TensorDictBase:
        population = self._population
        if seed is not None:
            self._set_seed(seed)
        chosen = None if tensordict is None else tensordict.get("_reset", None)
        if chosen is None or self._are_all(chosen, "_reset"):
            population.reset(self._next_seed)
            self._next_seed = None
        return self._output(None)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        chosen = tensordict.get("_step", None)
        if chosen is not None:
            self._are_all(chosen, "_step")
        actions = self._actions_of(tensordict)
        if self._is_elsewhere:
            actions = actions.to(self._population.tensor_device)
        rewards = self._population.step_tensors(actions)
        return self._output(rewards.view(self.n_worlds, self.n_agents, 1))

    def _step_proc_data(self, next_tensordict_out: TensorDictBase) -> TensorDictBase:
        """Complete what ``_step`` returned, which is complete: TorchRL's own search for gaps takes half a step."""
        if self.run_type_checks:
            return super()._step_proc_data(next_tensordict_out)
        return next_tensordict_out

    def _are_all(self, chosen: torch.Tensor, key: str) -> bool:
        """Whether a mask selects all worlds, rather than none; ValueError if it selects some of them."""
        number = int(chosen.sum())
        if chosen.numel() != self.n_worlds or 0 < number < self.n_worlds:
            raise ValueError(
                f"{key!r} must select all {self.n_worlds} worlds or none, since they share one clock, got a mask"
                f" of shape {tuple(chosen.shape)} with {number} selected"
            )
        return number > 0

    def _actions_of(self, tensordict: TensorDictBase) -> torch.Tensor:
        """Actions of all rows, in the order of the agents, where the worlds are simulated."""
        actions = [tensordict[name, "action"] for name in self.group_map]
        chosen = actions[0] if len(actions) == 1 else torch.cat(actions, dim=1)
        if self._places is not None:
            chosen = chosen[:, self._places]
        return chosen.reshape(-1, *chosen.shape[2:])

    def _output(self, rewards: torch.Tensor | None) -> TensorDictBase:
        """What is seen now, and after a step the rewards, shape (n_worlds, n_agents, 1)."""
        population, batch_size, device = self._population, self.batch_size, self.device
        everyone = {"observation": population.observe_tensors().view(self.n_worlds, self.n_agents, -1)}
        if population.has_masks:
            everyone["action_mask"] = population.mask_tensors()
        if rewards is not None:
            everyone["reward"] = rewards
        copies = self._is_elsewhere

        def here(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(device) if copies else tensor

        output: dict[str, Any] = {}
        for name, members, size in self._groups:
            own = {key: here(values[:, members]) for key, values in everyone.items()}
            output[name] = new_tensordict(own, batch_size=size, device=device)
        if self.return_state:
            output["state"] = here(population.state_tensors())
        if self._told:
            told = population.report_tensors()
            columns = {key: here(told[key][:, None]) for key in self._told}
            output["info"] = new_tensordict(columns, batch_size=batch_size, device=device)
        flags = population.is_over, population.terminated, population.truncated
        for key, flag in zip(DONE_KEYS, flags, strict=True):
            output[key] = torch.full((self.n_worlds, 1), flag, device=device)
        return new_tensordict(output, batch_size=batch_size, device=device)

    @property
    def _is_elsewhere(self) -> bool:
        """Whether the worlds are simulated on another device than that of the tensors."""
        return bool(self.device != self._population.tensor_device)


@with_common_parameters
def torchrl_env(game: str | Game, n_worlds: int = 1, **kwargs: Any) -> PopulationTorchRLEnv:
    """Make a TorchRL environment of a game, of batch size (n_worlds,).

    Parameters
    ----------
    {game}
    {n_worlds}
    kwargs:
        Options of :class:`PopulationTorchRLEnv` (``observe``, ``group_map``, ``seed``, ``device``, ...),
        and the game's constants if it is given by name.

    Raises
    ------
    {argument errors}
    {device errors}
    """
    return PopulationTorchRLEnv(game, n_worlds, **kwargs)


def named_groups(group_map: GroupMap, names: Sequence[str]) -> dict[str, list[str]]:
    """The names of the agents of each group.

    Raises
    ------
    TypeError
        If ``group_map`` is not of an allowed kind.
    ValueError
        If an agent is in no group or in several, or a group is empty or has a name of TorchRL's.
    """
    if group_map is None:
        group_map = MarlGroupMapType.ALL_IN_ONE_GROUP
    if isinstance(group_map, MarlGroupMapType):
        group_map = group_map.get_group_map(list(names))
    elif isinstance(group_map, str):
        checks.choice("group_map", group_map, ("types",))
        group_map = _by_type(names)
    if not isinstance(group_map, Mapping):
        raise TypeError(
            "group_map must be None, 'types', a MarlGroupMapType or a mapping of groups' names to agents' names,"
            f" got {checks.shown(group_map)}"
        )
    groups: dict[str, list[str]] = {}
    for name, members in group_map.items():
        if checks.text("the name of a group in group_map", name) in RESERVED:
            raise ValueError(f"group_map must not name a group {name!r}, which means something else to TorchRL")
        groups[name] = list(checks.sequence(f"group_map[{name!r}]", members, "list the names of agents"))
        if not groups[name]:
            raise ValueError(f"group_map[{name!r}] must list the names of agents, got none")
    number = collections.Counter(map(str, itertools.chain(*groups.values())))
    known = set(names)
    unknown = [name for name in number if name not in known]
    if unknown:
        raise ValueError(f"group_map must name agents of the game, got {unknown[0]!r}")
    wrong = [name for name in names if number[name] != 1]
    if wrong:
        raise ValueError(f"group_map must name each agent once, got {wrong[0]!r} {number[wrong[0]]} times")
    return groups


def _by_type(names: Sequence[str]) -> dict[str, list[str]]:
    """Agents named ``<type>_<int>`` by their type; all of one type are the group of all agents."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition("_")[0], []).append(name)
    return groups if len(groups) > 1 else {ALL_AGENTS: list(names)}


def _spec(space: "gymnasium.Space[Any]", size: torch.Size, device: torch.device) -> TensorSpec:
    """The spec of a space for each entry of an array of shape ``size``."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return Categorical(int(space.n), shape=size, dtype=torch.int64, device=device)
    assert isinstance(space, gymnasium.spaces.Box)
    shape = (*size, *space.shape)
    if not (np.isfinite(space.low).any() or np.isfinite(space.high).any()):
        return Unbounded(shape=shape, dtype=torch.float32, device=device)
    low, high = (torch.from_numpy(bound.astype(np.float32)).expand(shape) for bound in (space.low, space.high))
    return Bounded(low, high, shape=shape, dtype=torch.float32, device=device)


def _members(names: Sequence[str], chosen: Sequence[str]) -> slice | NDArray[np.int64]:
    """The indices of some agents: a slice where they follow each other, so that their rows are a view."""
    index = {name: i for i, name in enumerate(names)}
    indices = np.array([index[name] for name in chosen])
    first = int(indices[0])
    if np.array_equal(indices, np.arange(first, first + len(indices))):
        return slice(first, first + len(indices))
    return indices


def _places(members: Sequence[slice | NDArray[np.int64]], n_agents: int) -> NDArray[np.int64] | None:
    """Each agent's place when the groups follow one another; None if that is the order of the agents."""
    everyone = np.arange(n_agents)
    order = np.concatenate([everyone[chosen] for chosen in members])
    return None if np.array_equal(order, everyone) else np.argsort(order)


def _checked_device(device: Any) -> torch.device:
    """A device of torch by its name; ValueError if there is none of this name."""
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(
            f'device must be "cpu", "cuda", "cuda:<number>" or another device of torch, got {checks.shown(device)}'
        ) from None
