"""Compiled steps of Adam, against torch's."""

import copy

import pytest
import torch
from torch import nn

from baselines.neural.adam import ClippedSteps, is_plain_adam


def networks(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 40), nn.Tanh(), nn.Linear(40, 3))


def set_gradients(modules, step, size):
    generator = torch.Generator().manual_seed(step)
    for parameters in zip(*(module.parameters() for module in modules), strict=True):
        gradient = size * torch.randn(parameters[0].shape, generator=generator)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(gradient)
            parameter.grad.copy_(gradient)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(
    "arguments", [{}, {"betas": (0.5, 0.8), "eps": 1e-3}, {"amsgrad": True}, {"weight_decay": 0.1}]
)
def test_steps_are_those_of_torch(size, arguments):
    """Gradients of 343 numbers have a norm of some 18 times their size, which is clipped to 1, or is below it."""
    ours, theirs = networks(), networks()
    mine, other = (torch.optim.Adam(module.parameters(), 0.01, **arguments) for module in (ours, theirs))
    assert is_plain_adam(mine) == (not {"amsgrad", "weight_decay"} & arguments.keys())
    for step in range(6):
        if step % 3 == 0:  # another update
            mine.param_groups[0]["lr"] = other.param_groups[0]["lr"] = 0.01 / (step + 1)
            steps = ClippedSteps(list(ours.parameters()), mine, 1.0)
        set_gradients((ours, theirs), step, size * (1 + step))
        steps.step()
        nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        other.step()
        for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-7)
    states = [optimizer.state_dict()["state"] for optimizer in (mine, other)]
    for key, state in states[1].items():
        for name, value in state.items():
            torch.testing.assert_close(states[0][key][name], value, rtol=1e-4, atol=1e-8)


def test_what_a_step_does_besides_is_left_to_torch():
    module = networks()
    optimizer = torch.optim.Adam(module.parameters())
    assert is_plain_adam(optimizer)
    for other in (torch.optim.AdamW(module.parameters()), torch.optim.SGD(module.parameters(), 0.1)):
        assert not is_plain_adam(other)
    first, second = module[0].parameters(), module[2].parameters()
    assert not is_plain_adam(torch.optim.Adam([{"params": first}, {"params": second, "lr": 0.1}]))
    assert not is_plain_adam(torch.optim.Adam(copy.deepcopy(module).double().parameters()))
    calls = []
    handle = optimizer.register_step_post_hook(lambda *args: calls.append(1))
    steps = ClippedSteps(list(module.parameters()), optimizer, 1.0)
    for step in range(3):
        set_gradients((module,), step, 1.0)
        steps.step()
    assert len(calls) == 3
    handle.remove()
    assert is_plain_adam(optimizer)
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    assert not is_plain_adam(optimizer)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_are_as_wrong_as_with_torch(wrong):
    ours, theirs = networks(), networks()
    mine, other = (torch.optim.Adam(module.parameters(), 0.01) for module in (ours, theirs))
    steps = ClippedSteps(list(ours.parameters()), mine, 1.0)
    for step in range(2):
        set_gradients((ours, theirs), step, 1.0)
        if step == 1:
            for module in (ours, theirs):
                module[0].bias.grad[2] = wrong
        steps.step()
        nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        other.step()
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-7, equal_nan=True)
    assert not torch.isfinite(ours[0].bias).all()
