"""The test kit on attacks with one fault each: the test that is meant for it fails, and on a sound one none does."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Generator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip_plugin.evaluate import AttackResult, EmpiricalAttack
from lip_plugin.testing import AttackTests


class Sound(EmpiricalAttack):
    """One step down the gradient of the margin to each other class, exact on linear classifiers."""

    name, cost = "test", 2.0

    def run(self, model: nn.Module, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        best, lowest = x, torch.full((len(x),), torch.inf, dtype=x.dtype)
        label = F.one_hot(y, model(x).shape[1]).bool()
        for other in range(label.shape[1]):
            point = x.clone().requires_grad_(True)
            logits = model(point)
            (gradient,) = torch.autograd.grad((logits[label] - logits[:, other]).sum(), point)
            trial = x - self.step(gradient, eps)
            with torch.no_grad():
                reached = model(trial)
            margin = (reached[label] - reached[:, other]).masked_fill(y == other, torch.inf)
            best = torch.where((margin < lowest).view(-1, 1, 1, 1), trial, best)
            lowest = torch.minimum(margin, lowest)
        return best

    def step(self, gradient: Tensor, eps: float) -> Tensor:
        length = torch.linalg.vector_norm(gradient.flatten(1), dim=1).clamp_min(1e-12)
        return eps * gradient / length.view(-1, 1, 1, 1)


class Weak(Sound):
    def step(self, gradient: Tensor, eps: float) -> Tensor:
        return 0.1 * super().step(gradient, eps)


class StepByTheSizeOfLogits(Sound):
    def step(self, gradient: Tensor, eps: float) -> Tensor:
        return eps * gradient


class DividesByTheGradient(Sound):
    def step(self, gradient: Tensor, eps: float) -> Tensor:
        assert bool(gradient.any()) or not bool(gradient.numel()), "the gradient is zero"
        return super().step(gradient, eps)


class OwnDraws(Sound):
    def step(self, gradient: Tensor, eps: float) -> Tensor:
        own = torch.Generator()
        own.seed()
        return super().step(gradient + 0.01 * torch.randn(gradient.shape, generator=own, dtype=gradient.dtype), eps)


class DeterministicForAll(Sound):
    def step(self, gradient: Tensor, eps: float) -> Tensor:
        torch.backends.cudnn.deterministic = True
        return super().step(gradient, eps)


class EnvironmentForAll(Sound):
    def step(self, gradient: Tensor, eps: float) -> Tensor:
        os.environ["LIP_TEST_ATTACK"] = "1"
        return super().step(gradient, eps)


class WeightsChanged(Sound):
    def run(self, model: Any, x: Tensor, y: Tensor, *, eps: float, seed: int) -> Tensor:
        model.model.head_bias.add_(1.0)
        return super().run(model, x, y, eps=eps, seed=seed)


class Nameless(Sound):
    name = ""


class Free(Sound):
    cost = 0.0


class Reporting(Sound):
    """Attacks that pass by the port's own check."""

    def report(self, x: Tensor, result: AttackResult) -> AttackResult:
        return result

    def __call__(self, model: Any, x: Tensor, y: Tensor, **settings: Any) -> AttackResult:  # type: ignore[override]  # pyright: ignore
        return self.report(x, super().__call__(model, x, y, **settings))


class ClaimsMore(Reporting):
    def report(self, x: Tensor, result: AttackResult) -> AttackResult:
        distance = torch.where(result.success, result.distance, 0.0)
        return dataclasses.replace(result, success=torch.ones_like(result.success), distance=distance)


class GoesFarther(Reporting):
    def report(self, x: Tensor, result: AttackResult) -> AttackResult:
        return dataclasses.replace(result, adversarial=x + 2 * (result.adversarial - x), distance=2 * result.distance)


class SaysHalf(Reporting):
    def report(self, x: Tensor, result: AttackResult) -> AttackResult:
        return dataclasses.replace(result, distance=result.distance / 2)


class NeedsImages(Reporting):
    def report(self, x: Tensor, result: AttackResult) -> AttackResult:
        assert len(x) > 0
        return result


CAUGHT: dict[type[Sound], str] = {
    ClaimsMore: "test_what_is_reported_stands",
    GoesFarther: "test_what_is_reported_stands",
    SaysHalf: "test_nothing_is_found_before_the_boundary",
    NeedsImages: "test_eps_zero_and_no_image",
    Weak: "test_what_is_within_reach_is_broken",
    StepByTheSizeOfLogits: "test_what_is_within_reach_is_broken",
    DividesByTheGradient: "test_flat_logits_break_nothing",
    OwnDraws: "test_the_seed_decides",
    DeterministicForAll: "test_the_process_is_left_as_found",
    EnvironmentForAll: "test_the_process_is_left_as_found",
    WeightsChanged: "test_model_and_images_are_left_as_found",
    Nameless: "test_name_and_cost",
    Free: "test_name_and_cost",
}


def _tests(kind: type[Sound]) -> dict[str, Callable[[], None]]:
    class Suite(AttackTests):
        strength, reach = 1.0, 1.01

        def make(self) -> EmpiricalAttack:
            return kind()

    return {name: test for name, test in inspect.getmembers(Suite(), inspect.ismethod) if name.startswith("test_")}


@pytest.fixture(autouse=True)
def _leave_nothing() -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    deterministic = torch.backends.cudnn.deterministic
    yield
    torch.backends.cudnn.deterministic = deterministic
    os.environ.pop("LIP_TEST_ATTACK", None)


def test_a_sound_attack_passes_the_suite() -> None:
    for test in _tests(Sound).values():
        test()


@pytest.mark.parametrize("kind", CAUGHT, ids=lambda kind: kind.__name__)
def test_a_fault_is_caught_by_the_test_that_is_meant_for_it(kind: type[Sound]) -> None:
    with pytest.raises(Exception):  # noqa: B017  an assertion, or what the port refuses
        _tests(kind)[CAUGHT[kind]]()


def test_every_test_of_the_suite_catches_something() -> None:
    assert set(_tests(Sound)) == set(CAUGHT.values())
