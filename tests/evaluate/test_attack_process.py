"""What surrounds an attack: the process state, autograd, random draws and the checks before it runs."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lip_plugin.errors import ConfigError, DataError
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.view import AttackView
from lip_plugin.network import CertifiedClassifier
from lip_plugin.wrapping import wrap

Problem = tuple[CertifiedClassifier, Tensor, Tensor]


class Scripted(EmpiricalAttack):
    name = "scripted"

    def __init__(self, script: Callable[[AttackView, Tensor, Tensor], Tensor]) -> None:
        self._script = script

    def run(self, model: AttackView, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        return self._script(model, x, y)


@pytest.fixture
def problem() -> Problem:
    """Two classes, split at a mean pixel of 0.5; three images of 0.75, at a distance of 1."""
    head = nn.Linear(16, 2)
    with torch.no_grad():
        head.weight.copy_(torch.stack([torch.ones(16), -torch.ones(16)]) / 16)
        head.bias.copy_(torch.tensor([-0.5, 0.5]))
    model = wrap(nn.Sequential(nn.Flatten()).eval(), head.eval(), input_shape=(1, 4, 4))
    return model, torch.full((3, 1, 4, 4), 0.75), torch.zeros(3, dtype=torch.long)


def test_nothing_is_left_behind(problem: Problem) -> None:
    def trace(*_: object) -> None:
        return None

    def vandal(view: AttackView, x: Tensor, y: Tensor) -> Tensor:
        torch.manual_seed(99)
        np.random.seed(99)
        random.seed(99)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        sys.settrace(None)
        view.eval()
        raise RuntimeError("and then it fails")

    model, x, y = problem
    model.train()
    numpy_state: Any = np.random.get_state()
    states = torch.get_rng_state(), numpy_state[1].copy(), random.getstate()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(RuntimeError, match="and then it fails"):
            Scripted(vandal)(model, x, y, eps=1.0)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert torch.equal(states[0], torch.get_rng_state())
    numpy_state = np.random.get_state()
    assert np.array_equal(states[1], numpy_state[1])
    assert states[2] == random.getstate()
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert model.training


@pytest.mark.parametrize("mode", [contextlib.nullcontext, torch.no_grad, torch.inference_mode])
def test_attacks_can_differentiate_and_leave_no_gradient(
    problem: Problem, mode: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    def one_step(view: AttackView, x: Tensor, y: Tensor) -> Tensor:
        x.requires_grad_()
        nn.functional.cross_entropy(view(x), y).backward()
        assert x.grad is not None
        return x + 100 * x.grad

    model, x, y = problem
    x.requires_grad_()
    with mode():
        result = Scripted(one_step)(model, x, y, eps=2.0)
    assert result.success.all()
    assert x.grad is None
    assert not result.adversarial.requires_grad


def test_the_seed_alone_decides(problem: Problem) -> None:
    def noise(view: AttackView, x: Tensor, y: Tensor) -> Tensor:
        shift = torch.rand(1) + float(np.random.rand()) + random.random()
        return x - 0.3 + 0.05 * shift * torch.randn_like(x)

    model, x, y = problem
    first = Scripted(noise)(model, x, y, eps=2.0, seed=5).adversarial
    torch.rand(3)
    np.random.rand()
    random.random()
    assert torch.equal(first, Scripted(noise)(model, x, y, eps=2.0, seed=5).adversarial)
    assert not torch.equal(first, Scripted(noise)(model, x, y, eps=2.0, seed=6).adversarial)


def test_bad_questions_are_refused_before_any_attack_runs(problem: Problem) -> None:
    def never(view: AttackView, x: Tensor, y: Tensor) -> Tensor:
        raise AssertionError("ran")

    model, x, y = problem
    attack = Scripted(never)
    assert attack(model, x[:0], y[:0], eps=1.0).success.shape == (0,)
    with pytest.raises(ConfigError, match=r"float64.*own torch.float32"):
        attack(model, x.double(), y, eps=1.0)
    with pytest.raises(ConfigError, match="eps"):
        attack(model, x, y, eps=-1.0)
    with pytest.raises(DataError, match="pixels span"):
        attack(model, x + 1, y, eps=1.0)
    with pytest.raises(DataError, match="labels span"):
        attack(model, x, y + 2, eps=1.0)
