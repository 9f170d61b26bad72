"""Parameter groups: orthogonal matrices stay orthogonal through optimisers and averages, and what cannot is refused."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.data import ImageSet
from lip_plugin.errors import ConfigError, StoppedError
from lip_plugin.models import (
    ArchitectureConfig,
    CertifiableModel,
    EstimatedMap,
    NormalizedHead,
    ParameterGroup,
    StepSettings,
)
from lip_plugin.models.groups import check_groups
from lip_plugin.network import Dense, Flatten, MinMax, Operator, minmax
from lip_plugin.train.checkpoint import load_checkpoint
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.interrupt import StopRequest
from lip_plugin.train.loop import Hooks, train
from lip_plugin.train.optimisers import build_optimiser
from lip_plugin.train.state import TrainState, initial_state
from lip_plugin.train.step import train_step

Keeping = Literal["polar", "update", "nothing", "linear"]


def polar(matrix: Tensor) -> Tensor:
    """The nearest orthogonal matrix."""
    u, _, vh = torch.linalg.svd(matrix.double())
    return (u @ vh).to(matrix.dtype)


def half_as_fast(parameters: Sequence[nn.Parameter], settings: StepSettings) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=settings.learning_rate / 2, momentum=0.9)


class Rotated(CertifiableModel):
    """Flatten, one square matrix, MinMax, head: the matrix is a group of its own."""

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, keeping: Keeping) -> None:
        super().__init__()
        self.input_shape, self.keeping = input_shape, keeping
        size = math.prod(input_shape)
        self.rotation = nn.Parameter(torch.randn(size, size))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.head = NormalizedHead(size, num_classes)

    def features(self, x: Tensor) -> Tensor:
        return minmax(x.flatten(1) @ self.rotation.mT)

    def freeze_operators(self) -> tuple[Operator, ...]:
        return Flatten(), Dense(self.rotation.detach().clone()), MinMax()

    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        return ()

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        ways: dict[str, dict[str, Any]] = {
            "polar": {"linear": False, "retract": polar},
            "update": {"linear": False, "update": half_as_fast, "retract": polar},
            "nothing": {"linear": False},
            "linear": {},
        }
        rest = ParameterGroup("head", tuple(self.head.parameters()))
        return rest, ParameterGroup("rotations", (self.rotation,), **ways[self.keeping])


class RotatedConfig(ArchitectureConfig):
    architecture: Literal["rotated"] = "rotated"
    keeping: Keeping = "polar"

    def build(self, *, input_shape: tuple[int, int, int], num_classes: int) -> Rotated:
        return Rotated(input_shape, num_classes, self.keeping)


def _config(keeping: Keeping, **changes: object) -> TrainConfig:
    values: dict[str, object] = {
        "dataset": "mnist",
        "model": RotatedConfig(keeping=keeping),
        "eps": 0.1,
        "epochs": 2,
        "batch_size": 20,
        "learning_rate": 0.02,
        "weight_decay": 1.0,
        "augment": {"crop": 0, "flip": False},
    }
    return TrainConfig.model_validate({**values, **changes})


def _state(config: TrainConfig) -> TrainState:
    return initial_state(config, input_shape=(1, 8, 8), num_classes=2)


def _defect(model: nn.Module) -> float:
    """||R^T R - I||_2"""
    rotation = model.get_parameter("rotation").detach().double()
    return float(torch.linalg.matrix_norm(rotation.mT @ rotation - torch.eye(len(rotation)), 2))


@pytest.fixture(scope="module")
def images(halves: Callable[[int, int], ImageSet]) -> ImageSet:
    return halves(200, 1)


def _after_20_steps(config: TrainConfig, images: ImageSet) -> TrainState:
    state = _state(config)
    x, y = images.first(40).tensors(torch.float32)
    state.model.train()
    for _ in range(20):
        train_step(config, state, x, y, config.eps)
    return state


WAYS: list[tuple[Keeping, dict[str, object]]] = [
    ("polar", {"weight_average": 0.9}),
    ("polar", {"lookahead": True}),
    ("polar", {"optimiser": "nadam", "lookahead": True, "weight_average": 0.5}),
    ("update", {"lookahead": True, "weight_average": 0.9}),
]


@pytest.mark.parametrize(("keeping", "settings"), WAYS)
def test_an_orthogonal_group_stays_orthogonal(keeping: Keeping, settings: dict[str, object], images: ImageSet) -> None:
    config = _config(keeping, **settings)
    start = _state(config).model
    state = _after_20_steps(config, images)
    assert _defect(start) < 1e-5 and _defect(state.model) < 1e-5
    assert float((start.get_parameter("rotation") - state.model.get_parameter("rotation")).detach().norm()) > 0.1
    if state.average is not None:
        assert _defect(state.average) < 1e-5
        assert not torch.equal(state.average.state_dict()["rotation"], state.model.state_dict()["rotation"])
    assert lp.lipschitz_upper_bound(lp.freeze(state.result)).value == pytest.approx(1.0, rel=1e-4)


def test_without_its_retraction_it_would_not(images: ImageSet) -> None:
    """The same run with the matrix as a linear group: what the test above measures can fail."""
    assert _defect(_after_20_steps(_config("linear"), images).model) > 0.1


def test_weight_decay_concerns_linear_groups_alone(images: ImageSet) -> None:
    optimiser = build_optimiser(_config("polar"), _state(_config("polar")).model)
    assert [group["weight_decay"] for group in optimiser.param_groups] == [1.0, 0.0]
    optimiser = build_optimiser(_config("linear"), _state(_config("linear")).model)
    assert [group["weight_decay"] for group in optimiser.param_groups] == [1.0, 1.0]


def test_an_update_of_its_own_follows_the_schedule_at_its_own_rate(images: ImageSet) -> None:
    """Momentum SGD at half the rate, by hand over two steps."""
    config = _config("update", weight_decay=0.0)
    state = _state(config)
    state.optimiser.set_learning_rate(0.5)
    assert [group["lr"] for group in state.optimiser.param_groups] == [0.5, 0.25]
    start = state.model.get_parameter("rotation").detach().clone()
    gradients = [torch.eye(64) * 0.3, torch.ones(64, 64) * 0.01]
    expected, momentum = start, torch.zeros(64, 64)
    for gradient in gradients:
        for parameter in state.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        state.model.get_parameter("rotation").grad = gradient
        state.optimiser.step()
        momentum = 0.9 * momentum + gradient
        expected = polar(expected - 0.25 * momentum)
    torch.testing.assert_close(state.model.get_parameter("rotation").detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("keeping", "settings"), WAYS)
def test_resuming_changes_no_bit(
    keeping: Keeping, settings: dict[str, object], images: ImageSet, tmp_path: Path
) -> None:
    config = _config(keeping, **settings)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = train(config, images, run_dir=tmp_path / "whole")
    request, steps = StopRequest(), [0]

    def after_13(count: int, note: str) -> None:
        steps[0] += 1
        if steps[0] == 13:
            request.received = signal.SIGTERM

    with pytest.raises(StoppedError):
        train(config, images, run_dir=tmp_path / "cut", hooks=Hooks(on_step=after_13, stop=request))
    resumed = train(config, images, run_dir=tmp_path / "cut", resume=True)
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())
    assert load_checkpoint(tmp_path / "whole")["losses"] == load_checkpoint(tmp_path / "cut")["losses"]


def test_averages_are_the_mean_or_what_the_group_says() -> None:
    def turn(angle: float) -> Tensor:
        return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    def along_the_circle(a: Tensor, b: Tensor, weight: float) -> Tensor:
        angles = [math.atan2(float(matrix[1, 0]), float(matrix[0, 0])) for matrix in (a, b)]
        return turn((1 - weight) * angles[0] + weight * angles[1])

    start, end = turn(0.2), turn(1.0)
    parameter = nn.Parameter(start.clone())
    ways: dict[str, tuple[dict[str, Any], Tensor]] = {
        "mean": ({}, 0.75 * start + 0.25 * end),
        "retracted": ({"linear": False, "retract": polar}, polar(0.75 * start + 0.25 * end)),
        "own": ({"linear": False, "average": along_the_circle, "update": half_as_fast}, turn(0.4)),
    }
    for name, (settings, expected) in ways.items():
        value = start.clone()
        ParameterGroup(name, (parameter,), **settings).average_([value], [end], 0.25)
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(parameter.detach(), start)


def test_a_group_that_nothing_keeps_on_its_set_is_refused(images: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"group 'rotations' of Rotated is not linear .*give retract .*or update"):
        train(_config("nothing"), images, run_dir=tmp_path)
    assert not any(tmp_path.iterdir())


def test_averaging_refuses_a_group_that_cannot_be_averaged() -> None:
    model = _config("linear").model.build(input_shape=(1, 8, 8), num_classes=2)
    curved = ParameterGroup("rotations", tuple(model.parameters()), linear=False, update=half_as_fast)
    model.parameter_groups = lambda: (curved,)
    for settings in ({"weight_average": 0.9}, {"lookahead": True}):
        with pytest.raises(ConfigError, match=r"rotations.*give them average or retract"):
            build_optimiser(_config("linear", **settings), model)
    build_optimiser(_config("linear"), model)


def test_every_parameter_is_in_one_group() -> None:
    model = _config("linear").model.build(input_shape=(1, 8, 8), num_classes=2)
    head, rotations = model.parameter_groups()
    check_groups((head, rotations), model)
    cases = {
        r"head\.weight is in 0": (rotations,),
        "rotation is in 2": (head, rotations, ParameterGroup("more", rotations.parameters)),
        "1 tensors are no parameters": (head, rotations, ParameterGroup("more", (nn.Parameter(torch.ones(1)),))),
        "two groups named 'head'": (head, ParameterGroup("head", rotations.parameters)),
    }
    for words, groups in cases.items():
        with pytest.raises(ConfigError, match=words):
            check_groups(groups, model)


def test_an_update_that_steps_other_parameters_is_refused() -> None:
    model = _config("linear").model.build(input_shape=(1, 8, 8), num_classes=2)
    head, rotations = model.parameter_groups()
    greedy = ParameterGroup("all", rotations.parameters, update=lambda _, s: half_as_fast([*model.parameters()], s))
    model.parameter_groups = lambda: (head, greedy)
    with pytest.raises(ConfigError, match="update of the parameter group 'all' must step its parameters"):
        build_optimiser(_config("linear"), model)


def test_a_group_may_be_put_back_at_the_end_of_an_epoch_alone(images: ImageSet) -> None:
    """Its update keeps it near its set; in between nothing is retracted."""
    state = _state(_config("update"))
    head, rotations = state.model.parameter_groups()
    late = replace(rotations, retract_at="epoch")
    state.model.parameter_groups = lambda: (head, late)
    optimiser = build_optimiser(_config("update"), state.model)
    for parameter in state.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    assert _defect(state.model) > 0.1
    optimiser.end_epoch()
    assert _defect(state.model) < 1e-5
    with pytest.raises(ConfigError, match="nothing keeps it on its set"):
        check_groups((head, replace(late, update=None)), state.model)


def test_training_ends_epochs(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once after the last step of each, before the checkpoint and whatever is reported."""
    ends: list[int] = []
    monkeypatch.setattr(
        "lip_plugin.train.grouped.GroupedOptimiser.end_epoch", lambda self: ends.append(len(ends)), raising=True
    )
    seen: list[int] = []
    train(_config("linear"), images, run_dir=tmp_path, hooks=Hooks(on_epoch=lambda state: seen.append(len(ends))))
    assert len(ends) == 2 and seen == [1, 2]


def test_updates_hear_whether_the_run_looks_ahead() -> None:
    heard: list[StepSettings] = []

    def listening(parameters: Sequence[nn.Parameter], settings: StepSettings) -> torch.optim.Optimizer:
        heard.append(settings)
        return half_as_fast(parameters, settings)

    for optimiser in ("adamw", "nadam"):
        model = _state(_config("update")).model
        head, rotations = model.parameter_groups()
        model.parameter_groups = partial(tuple[ParameterGroup, ...], (head, replace(rotations, update=listening)))
        build_optimiser(_config("update", optimiser=optimiser), model)
    assert heard == [StepSettings(0.02, 1.0), StepSettings(0.02, 1.0, nesterov=True)]
