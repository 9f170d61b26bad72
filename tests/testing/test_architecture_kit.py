"""The test kit on architectures with one fault each: the test that is meant for it fails, on a sound one none does."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from lip_plugin.bounds import NormBound
from lip_plugin.models import ArchitectureConfig, CertifiableModel, EstimatedMap, NormalizedHead, ParameterGroup
from lip_plugin.network import Dense, Flatten, MinMax, Offset, Operator, minmax
from lip_plugin.network.operators import OPERATOR_KINDS
from lip_plugin.network.operators.base import Json
from lip_plugin.testing import ArchitectureTests


def polar(matrix: Tensor) -> Tensor:
    u, _, vh = torch.linalg.svd(matrix.double())
    return (u @ vh).to(matrix.dtype)


def to_half_way(matrix: Tensor) -> Tensor:
    return (matrix + polar(matrix)) / 2


class Sound(CertifiableModel):
    """Flatten, a shift, an orthogonal matrix, MinMax, a matrix whose norm is learned, MinMax, head."""

    shift: Tensor

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.input_shape = input_shape
        size = math.prod(input_shape)
        self.rotation = nn.Parameter(torch.randn(size, size))
        self.mixing = nn.Parameter(torch.randn(8, size) / 2)
        self.register_buffer("shift", torch.zeros(size))
        self.head = NormalizedHead(8, num_classes)

    def features(self, x: Tensor) -> Tensor:
        return minmax(minmax((x.flatten(1) + self.shift) @ self.rotation.mT) @ self.mixing.mT)

    def freeze_operators(self) -> tuple[Operator, ...]:
        return Flatten(), Offset(self.shift), Dense(self.rotation), MinMax(), Dense(self.mixing), MinMax()

    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        return (EstimatedMap(Dense(self.mixing), (len(self.rotation),)),)

    def rotations(self) -> ParameterGroup:
        return ParameterGroup("rotations", (self.rotation,), linear=False, retract=polar)

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        return ParameterGroup("rest", (self.mixing, *self.head.parameters())), self.rotations()


class SoundConfig(ArchitectureConfig):
    architecture: Literal["test_sound"] = "test_sound"
    model: ClassVar[type[Sound]] = Sound

    def build(self, *, input_shape: tuple[int, int, int], num_classes: int) -> CertifiableModel:
        return self.model(input_shape, num_classes)


class SettingsIgnored(SoundConfig):
    model_config = ConfigDict(extra="ignore", frozen=True)


class NotCounted(Sound):
    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        return ()


class CountedTwice(Sound):
    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        return 2 * super().estimated_maps()


class NotKept(Sound):
    """Weight decay shrinks the matrix, which counts as 1."""

    def rotations(self) -> ParameterGroup:
        return ParameterGroup("rotations", (self.rotation,))


class KeptHalfWay(Sound):
    def rotations(self) -> ParameterGroup:
        return ParameterGroup("rotations", (self.rotation,), linear=False, retract=to_half_way)


class ParameterInNoGroup(Sound):
    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        return ParameterGroup("rest", tuple(self.head.parameters())), self.rotations()


class Uphill(Sound):
    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        first, second = super().parameter_groups()
        return ParameterGroup(
            first.name,
            first.parameters,
            update=lambda values, _: torch.optim.SGD(values, lr=0.1, maximize=True),
        ), second


class NoGradientOfEstimates(Sound):
    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        return (EstimatedMap(Dense(self.mixing.detach()), (len(self.rotation),)),)


class BufferForgotten(Sound):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x)

    def freeze_operators(self) -> tuple[Operator, ...]:
        return Flatten(), Dense(self.rotation), MinMax(), Dense(self.mixing), MinMax()


class StateBesideTheModel(Sound):
    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        self.factor = float(torch.rand(())) + 1.0

    def features(self, x: Tensor) -> Tensor:
        return minmax(minmax((x.flatten(1) + self.shift) @ self.rotation.mT) @ (self.factor * self.mixing).mT)

    def freeze_operators(self) -> tuple[Operator, ...]:
        return (*super().freeze_operators()[:4], Dense(self.factor * self.mixing), MinMax())


class OwnDraws(Sound):
    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        own = torch.Generator()
        own.seed()
        with torch.no_grad():
            self.mixing.normal_(generator=own)


class UnusedParameter(Sound):
    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        self.unused = nn.Parameter(torch.ones(2))

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        return (*super().parameter_groups(), ParameterGroup("unused", (self.unused,)))


class ChangedByFreezing(Sound):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x)

    def freeze_operators(self) -> tuple[Operator, ...]:
        self.shift.add_(1.0)
        return super().freeze_operators()


class StepsCountedBeside(Sound):
    """What a training step computes depends on a number that no checkpoint holds."""

    steps = 0

    def features(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return super().features(x + 0.01 * self.steps * self.training)

    def freeze_operators(self) -> tuple[Operator, ...]:
        return super().freeze_operators()


@dataclass(frozen=True, eq=False)
class HalfBound(Dense):
    kind: ClassVar[str] = "test_half_bound"

    def lipschitz_upper_bound(self, input_shape: tuple[int, ...]) -> NormBound:
        return NormBound(super().lipschitz_upper_bound(input_shape).value / 2, "half")


@dataclass(frozen=True, eq=False)
class Forgetful(Dense):
    """Saved without its factor."""

    kind: ClassVar[str] = "test_forgetful"
    factor: float = 1.0

    def apply(self, x: Tensor) -> Tensor:
        return super().apply(x) * self.factor

    def lipschitz_upper_bound(self, input_shape: tuple[int, ...]) -> NormBound:
        return NormBound(super().lipschitz_upper_bound(input_shape).value * self.factor, "scaled")

    def settings(self) -> dict[str, Json]:
        return {}


class BoundTooSmall(Sound):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x)

    def freeze_operators(self) -> tuple[Operator, ...]:
        return (*super().freeze_operators()[:4], HalfBound(self.mixing), MinMax())


class EstimateAboveTheBound(Sound):
    def estimated_maps(self) -> tuple[EstimatedMap, ...]:
        return (EstimatedMap(HalfBound(self.mixing), (len(self.rotation),)),)


class SavedWrongly(Sound):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x)

    def freeze_operators(self) -> tuple[Operator, ...]:
        return (*super().freeze_operators()[:4], Forgetful(self.mixing / 2, factor=2.0), MinMax())


CAUGHT: dict[type[Sound], str] = {
    NotCounted: "test_training_counts_what_is_proved",
    CountedTwice: "test_training_counts_what_is_proved",
    NotKept: "test_training_counts_what_is_proved",
    KeptHalfWay: "test_groups_stay_on_their_sets",
    ParameterInNoGroup: "test_groups_stay_on_their_sets",
    Uphill: "test_training_lowers_the_loss",
    NoGradientOfEstimates: "test_estimates_send_gradients",
    EstimateAboveTheBound: "test_estimates_reach_the_norms_from_below",
    BufferForgotten: "test_freeze_computes_the_same",
    StateBesideTheModel: "test_state_dict_holds_everything",
    OwnDraws: "test_weights_depend_on_the_seed_alone",
    UnusedParameter: "test_gradients_reach_every_parameter",
    ChangedByFreezing: "test_freezing_leaves_the_model_alone",
    StepsCountedBeside: "test_training_goes_on_from_a_checkpoint",
    BoundTooSmall: "test_bound_is_above_every_jacobian",
    SavedWrongly: "test_network_is_saved_and_proved_again",
}


def _suite(config: type[SoundConfig]) -> ArchitectureTests:
    class Suite(ArchitectureTests):
        input_shape = (1, 4, 4)

        def make(self) -> ArchitectureConfig:
            return config()

    return Suite()


def _of(kind: type[Sound]) -> type[SoundConfig]:
    class Config(SoundConfig):
        model: ClassVar[type[Sound]] = kind

    return Config


def _tests(suite: ArchitectureTests) -> dict[str, Callable[[], None]]:
    return {name: test for name, test in inspect.getmembers(suite, inspect.ismethod) if name.startswith("test_")}


@pytest.fixture(scope="module", autouse=True)
def _leave_no_kinds() -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    for operator in (HalfBound, Forgetful):
        OPERATOR_KINDS.pop(operator.kind, None)


def test_a_sound_architecture_passes_the_suite() -> None:
    for test in _tests(_suite(SoundConfig)).values():
        test()


@pytest.mark.parametrize("kind", CAUGHT, ids=lambda kind: kind.__name__)
def test_a_fault_is_caught_by_the_test_that_is_meant_for_it(kind: type[Sound]) -> None:
    with pytest.raises(Exception):  # noqa: B017  an assertion, or what freezing and training refuse
        _tests(_suite(_of(kind)))[CAUGHT[kind]]()


def test_settings_that_are_ignored_are_caught() -> None:
    with pytest.raises(AssertionError, match="takes a setting that it does not have"):
        _tests(_suite(SettingsIgnored))["test_settings_are_read_back"]()


def test_every_test_of_the_suite_catches_something() -> None:
    assert set(_tests(_suite(SoundConfig))) == {*CAUGHT.values(), "test_settings_are_read_back"}
