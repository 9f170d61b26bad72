"""The test kit on operators with one fault each: the test that is meant for it fails, and on a sound one none does."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from lip_plugin.bounds import NormBound
from lip_plugin.network import NormEstimates, Operator, PlainLayer, RoundingTerm, Windows
from lip_plugin.network.operators import OPERATOR_KINDS
from lip_plugin.network.operators.rounding import elementwise_rounding
from lip_plugin.testing import OperatorTests
from lip_plugin.types import Shape

FACTOR = 3.3


@dataclass(frozen=True, eq=False)
class Multiple(Operator):
    """y = factor * x, channel by channel, without a fault. The mutants below change one method each."""

    factor: Tensor

    def apply(self, x: Tensor) -> Tensor:
        return x * self.factor.view(-1, 1, 1)

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(float(self.factor.double().abs().max()), "largest factor")

    def lipschitz_estimate(self, input_shape: Shape, norms: NormEstimates) -> Tensor:
        return self.factor.abs().max()

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        return elementwise_rounding(self.lipschitz_upper_bound(input_shape).value, unit, 27)

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        return ()

    def work(self, input_shape: Shape) -> int:
        return 27

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer("{x} * {self}.view(-1, 1, 1)", "multiple", "torch.zeros(3)", is_buffer=True)

    def describe(self) -> str:
        return "multiple"


class Sound(Multiple):
    kind: ClassVar[str] = "test_sound"


class BoundTooSmall(Multiple):
    kind: ClassVar[str] = "test_bound"

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(0.99 * super().lipschitz_upper_bound(input_shape).value, "too small")


class BoundTooLarge(Multiple):
    kind: ClassVar[str] = "test_loose"

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return NormBound(1.02 * super().lipschitz_upper_bound(input_shape).value, "loose")


class RoundingForgotten(Multiple):
    kind: ClassVar[str] = "test_rounding"

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        return RoundingTerm.EXACT


class Detour(Multiple):
    """The same function by numbers 2^60 times as large: the default of `float32_rounding` does not know of them."""

    kind: ClassVar[str] = "test_detour"

    def apply(self, x: Tensor) -> Tensor:
        return (x * 2.0**60) * (self.factor.view(-1, 1, 1) * 2.0**-60)


class BatchMean(Multiple):
    kind: ClassVar[str] = "test_batch"

    def apply(self, x: Tensor) -> Tensor:
        return super().apply(x - 0.01 * x.mean(0, keepdim=True))


class EmptyKeepsItsShape(Multiple):
    """As torch's own pixel_unshuffle does."""

    kind: ClassVar[str] = "test_empty"

    def apply(self, x: Tensor) -> Tensor:
        return super().apply(x).flatten(1) if len(x) else x

    def output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)


class WrongShape(Multiple):
    kind: ClassVar[str] = "test_shape"

    def output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *reversed(input_shape[1:]))


class DetachedGradient(Multiple):
    kind: ClassVar[str] = "test_gradient"

    def apply(self, x: Tensor) -> Tensor:
        return super().apply(x.detach()) + 0 * x


class OtherPlainForm(Multiple):
    kind: ClassVar[str] = "test_plain"

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        return PlainLayer("{x} / {self}.view(-1, 1, 1)", "multiple", "torch.zeros(3)", is_buffer=True)


class LostSetting(Multiple):
    kind: ClassVar[str] = "test_settings"

    def settings(self) -> dict[str, object]:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return {"factor_count": 3}


class TensorsKept(Multiple):
    kind: ClassVar[str] = "test_kept"

    def with_tensors(self, tensors: object) -> TensorsKept:  # type: ignore[override]
        return self


class NoWork(Multiple):
    kind: ClassVar[str] = "test_work"

    def work(self, input_shape: Shape) -> int:
        return 0


class EstimateOfTheMean(Multiple):
    kind: ClassVar[str] = "test_estimate"

    def lipschitz_estimate(self, input_shape: Shape, norms: NormEstimates) -> Tensor:
        return self.factor.abs().mean()


CAUGHT: dict[type[Multiple], str] = {
    BoundTooSmall: "test_no_radius_is_too_large_and_one_that_were_is_caught",
    BoundTooLarge: "test_bound_is_above_every_jacobian",
    RoundingForgotten: "test_rounding_term_covers_float32",
    Detour: "test_nothing_overflows_where_it_is_said_not_to",
    EmptyKeepsItsShape: "test_no_image_is_an_empty_batch",
    BatchMean: "test_images_do_not_meet",
    WrongShape: "test_output_shape",
    DetachedGradient: "test_gradients",
    OtherPlainForm: "test_plain_form_computes_the_same",
    LostSetting: "test_parts_give_it_back",
    TensorsKept: "test_other_tensors_are_another_operator",
    EstimateOfTheMean: "test_training_estimate_comes_to_the_bound_from_below",
    NoWork: "test_questions_are_answered",
}


def _suite(kind: type[Multiple]) -> OperatorTests:
    class Suite(OperatorTests):
        looseness = 1.01

        def make(self) -> Operator:
            return kind(torch.tensor([FACTOR, -1.7, 0.4]))

        def inputs(self) -> Tensor:
            return torch.randn(3, 3, 3, 4, generator=torch.Generator().manual_seed(0))

    return Suite()


def _tests(suite: OperatorTests) -> dict[str, Callable[[], None]]:
    return {name: test for name, test in inspect.getmembers(suite, inspect.ismethod) if name.startswith("test_")}


@pytest.fixture(scope="module", autouse=True)
def _leave_no_kinds() -> Generator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    for kind in [Sound, *CAUGHT]:
        OPERATOR_KINDS.pop(kind.kind, None)


def test_a_sound_operator_passes_the_suite() -> None:
    for test in _tests(_suite(Sound)).values():
        test()


@pytest.mark.parametrize("kind", CAUGHT, ids=lambda kind: kind.__name__)
def test_a_fault_is_caught_by_the_test_that_is_meant_for_it(kind: type[Multiple]) -> None:
    with pytest.raises(Exception):  # noqa: B017  an assertion, or what the network refuses
        _tests(_suite(kind))[CAUGHT[kind]]()


def test_a_bound_that_is_too_small_fails_on_jacobians_and_pairs_too() -> None:
    for name in ("test_bound_is_above_every_jacobian", "test_bound_is_above_every_pair"):
        with pytest.raises(AssertionError):
            _tests(_suite(BoundTooSmall))[name]()
