# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.13.0", "mfenvs", "gymnasium==1.4.0"]
# [tool.uv.sources]
# mfenvs = { path = "../.." }
# ///
"""In the style of CleanRL: PPO in one file, one network for all agents (parameter sharing), over gymnasium's API.

Nothing but torch is needed. All agents of all worlds are slots of one vector environment, so that an update is
what it is for any vector environment. What a file of one's own has to get right:

* where an episode *terminates* there is no future to value; where it is *truncated*, its last observation is
  valued, which is in ``infos["final_obs"]`` (the observation returned is already that of the next episode);
* actions that have no use are masked in play and in learning alike, if the game has masks.
"""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import mfenvs
from mfenvs import Game
from mfenvs.api.gymnasium import PopulationVectorEnv

SMALL_CITY = {"n_agents": 20, "horizon": 32, "city": ("111", "HSH", "222")}
"""A-Taxi with twenty taxis in a city of six places, which is learned in seconds."""


@dataclasses.dataclass
class Settings:
    """Hyper-parameters."""

    n_worlds: int = 4
    """Number of worlds that are simulated together."""
    n_updates: int = 30
    """Number of updates, each from ``n_steps`` steps of all agents of all worlds."""
    n_steps: int = 32
    """Number of steps between updates."""
    n_epochs: int = 8
    """Number of passes over the data of an update."""
    n_minibatches: int = 2
    """Number of minibatches of a pass."""
    learning_rate: float = 2e-3
    """Step size of Adam at first; it falls to 0 linearly."""
    gamma: float = 0.98
    """Discount factor."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip: float = 0.2
    """Largest change of a probability ratio that is rewarded."""
    entropy: float = 0.01
    """Weight of the entropy bonus."""
    value: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Norm to which gradients are cut."""
    seed: int = 0
    """Random seed."""


class Agent(nn.Module):
    """Policy and value of an agent, the same networks for all."""

    def __init__(self, n_features: int, n_actions: int) -> None:
        super().__init__()
        self.actor, self.critic = (
            nn.Sequential(nn.Linear(n_features, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, n))
            for n in (n_actions, 1)
        )

    def law(self, observations: Tensor, masks: Tensor) -> torch.distributions.Categorical:
        """The distribution of actions; those whose mask is False have probability 0."""
        return torch.distributions.Categorical(logits=self.actor(observations).masked_fill(~masks, -1e8))

    def value(self, observations: Tensor) -> Tensor:
        """The value of observations, shape (n,)."""
        return self.critic(observations).squeeze(-1)

    @torch.no_grad()
    def predict(self, observations: NDArray[np.float32], action_masks: NDArray[np.bool_]) -> tuple[object, None]:
        """Sampled actions, in the form that :func:`mfenvs.evaluate` asks for."""
        return self.law(torch.as_tensor(observations), torch.as_tensor(action_masks)).sample().numpy(), None


@dataclasses.dataclass
class Rollout:
    """Steps of all slots, arrays of shape (n_steps, n_slots, ...)."""

    observations: Tensor
    masks: Tensor
    actions: Tensor
    log_probabilities: Tensor
    values: Tensor
    rewards: Tensor
    ends: Tensor
    """1 where an episode ended with this step, terminated or truncated."""
    next_values: Tensor
    """Value of what came after the step: 0 where it terminated the episode."""

    @classmethod
    def zeros(cls, n_steps: int, n_slots: int, n_features: int, n_actions: int) -> "Rollout":
        """Arrays to be filled."""
        flat = {field.name: torch.zeros(n_steps, n_slots) for field in dataclasses.fields(cls)}
        flat["observations"] = torch.zeros(n_steps, n_slots, n_features)
        flat["masks"] = torch.ones(n_steps, n_slots, n_actions, dtype=torch.bool)
        flat["actions"] = torch.zeros(n_steps, n_slots, dtype=torch.long)
        return cls(**flat)

    def advantages(self, gamma: float, gae_lambda: float) -> Tensor:
        """Generalised advantage estimates; nothing is passed on over the end of an episode."""
        errors = self.rewards + gamma * self.next_values - self.values
        found, later = torch.zeros_like(errors), torch.zeros_like(errors[0])
        for t in reversed(range(len(errors))):
            later = errors[t] + gamma * gae_lambda * (1.0 - self.ends[t]) * later
            found[t] = later
        return found


class Trainer:
    """PPO on a game with discrete actions."""

    def __init__(self, game: Game, settings: Settings) -> None:
        self.settings = settings
        torch.manual_seed(settings.seed)
        self.env = PopulationVectorEnv(game, n_worlds=settings.n_worlds, autoreset_mode="SameStep")
        self.sizes = self.env.num_envs, self.env.single_observation_space.shape[0], self.env.single_action_space.n
        self.agent = Agent(*self.sizes[1:])
        self.optimizer = torch.optim.Adam(self.agent.parameters(), lr=settings.learning_rate, eps=1e-5)
        observations, infos = self.env.reset(seed=settings.seed)
        self.now = torch.as_tensor(observations), self.masks_of(infos)

    def masks_of(self, infos: dict) -> Tensor:
        """Action masks in the infos of a step; all True if the game has none."""
        if "action_mask" not in infos:
            return torch.ones(self.sizes[0], self.sizes[2], dtype=torch.bool)
        return torch.as_tensor(infos["action_mask"], dtype=torch.bool)

    @torch.no_grad()
    def play(self) -> Rollout:
        """Play ``n_steps`` steps."""
        rollout = Rollout.zeros(self.settings.n_steps, *self.sizes)
        for t in range(self.settings.n_steps):
            observations, masks = self.now
            law, values = self.agent.law(observations, masks), self.agent.value(observations)
            actions = law.sample()
            following, rewards, terminated, truncated, infos = self.env.step(actions.numpy())
            self.now = torch.as_tensor(following), self.masks_of(infos)
            ends = terminated | truncated
            # Slots run in lockstep: all end, or none.
            last = np.stack(infos["final_obs"]) if ends.any() else following
            rollout.observations[t], rollout.masks[t] = observations, masks
            rollout.actions[t], rollout.log_probabilities[t] = actions, law.log_prob(actions)
            rollout.values[t], rollout.rewards[t] = values, torch.as_tensor(rewards)
            rollout.ends[t] = torch.as_tensor(ends)
            rollout.next_values[t] = self.agent.value(torch.as_tensor(last)) * torch.as_tensor(~terminated)
        return rollout

    def learn(self, rollout: Rollout) -> None:
        """Update the networks from a rollout."""
        settings = self.settings
        advantages = rollout.advantages(settings.gamma, settings.gae_lambda)
        returns = (advantages + rollout.values).flatten()
        advantages = (advantages.flatten() - advantages.mean()) / (advantages.std() + 1e-8)
        observations, masks = rollout.observations.flatten(0, 1), rollout.masks.flatten(0, 1)
        actions, log_probabilities = rollout.actions.flatten(), rollout.log_probabilities.flatten()
        for _ in range(settings.n_epochs):
            for rows in torch.randperm(len(actions)).chunk(settings.n_minibatches):
                law = self.agent.law(observations[rows], masks[rows])
                ratio = (law.log_prob(actions[rows]) - log_probabilities[rows]).exp()
                cut = ratio.clamp(1.0 - settings.clip, 1.0 + settings.clip)
                gain = torch.min(ratio * advantages[rows], cut * advantages[rows]).mean()
                error = 0.5 * (self.agent.value(observations[rows]) - returns[rows]).square().mean()
                loss = settings.value * error - gain - settings.entropy * law.entropy().mean()
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.agent.parameters(), settings.max_grad_norm)
                self.optimizer.step()

    def train(self) -> None:
        """Play and learn ``n_updates`` times."""
        for update in range(self.settings.n_updates):
            self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate * (
                1.0 - update / self.settings.n_updates
            )
            self.learn(self.play())


def stepping(game: Game) -> dict[str, Callable[[int], None]]:
    """For each route, a function that takes one world through some steps of random actions."""
    env = PopulationVectorEnv(game, autoreset_mode="SameStep")
    env.reset(seed=0)
    actions = env.action_space.sample()

    def take(n_steps: int) -> None:
        for _ in range(n_steps):
            env.step(actions)

    return {"gymnasium VectorEnv": take}


def main(settings: Settings | None = None) -> tuple[float, float]:
    """Train on A-Taxi; print and return what an agent earns by random actions and by the trained network."""
    torch.set_num_threads(1)
    settings = settings or Settings()
    game = mfenvs.make("Taxi-v0", **SMALL_CITY)
    trainer = Trainer(game, settings)
    began = time.perf_counter()
    trainer.train()
    speed = settings.n_updates * settings.n_steps * trainer.env.num_envs / (time.perf_counter() - began)
    at_random, trained = (mfenvs.evaluate(game, who, n_worlds=16).mean_return for who in (None, trainer.agent))
    print(f"random {at_random}, trained {trained}; {speed:,.0f} agent-steps/s with learning")
    return at_random.value, trained.value


if __name__ == "__main__":
    main()
