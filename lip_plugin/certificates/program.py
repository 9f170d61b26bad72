"""The floating-point programs that a certificate can speak about, each by its rounding."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lip_plugin.errors import ConfigError
from lip_plugin.network import CertifiedClassifier, Operator, Rounding, RoundingAt, RoundingTerm
from lip_plugin.network.kinds import all_operators
from lip_plugin.network.operators.chain import reach_inside
from lip_plugin.network.operators.rounding import gamma_upper_bound, underflow_upper_bound
from lip_plugin.types import Shape

_DOUBLE, _SINGLE = 2.0**-53, 2.0**-24
_SMALLEST_SINGLE = 2.0**-149


@dataclass(frozen=True)
class Program:
    """How a network is executed: its operators in float64, unless a subclass says otherwise.

    ``unit`` is the unit roundoff inside an operator. With ``stored_in_float32`` the images and what every
    operator returns are rounded to float32 on top. ``largest``: as long as what is stored and the weights stay
    below it nothing overflows; for logits and the sums they are made of it is ``largest_logit``.
    """

    unit: float
    stored_in_float32: bool
    largest: float
    largest_logit: float

    def rounding(self, operator: Operator, input_shape: Shape, term: RoundingTerm) -> Rounding:
        """The rounding inside the operator, prepared once; ``term`` is its rounding in float64."""
        reach = reach_inside(operator, input_shape)

        def rounding(x: Tensor, y: Tensor, norm: Tensor) -> RoundingAt:
            at = RoundingAt.by_term(term, norm, reach.gain)
            return RoundingAt(at.error, at.growth, at.peak + reach.at_zero, at.swell)

        return rounding

    def storage(self, operator: Operator, input_shape: Shape, term: RoundingTerm) -> RoundingTerm:
        """Rounding of what the operator returns to what is stored, relative to its norm; none where that is exact."""
        exact = term == RoundingTerm.EXACT
        return RoundingTerm.EXACT if exact else self.stored(math.prod(operator.output_shape(input_shape)))

    def stored(self, entries: int) -> RoundingTerm:
        """Rounding of ``entries`` float64 numbers, images for example, to what is stored."""
        return (
            RoundingTerm(_SINGLE, _SMALLEST_SINGLE * math.sqrt(entries))
            if self.stored_in_float32
            else RoundingTerm.EXACT
        )

    def head(self, fan_in: int) -> RoundingTerm:
        """Of the difference of two logits, relative to (||w_i|| + ||w_j||) ||features|| + |b_i| + |b_j| + |difference|.

        Dot product of ``fan_in`` terms, the bias and the difference, then storage.
        """
        inside, stored = gamma_upper_bound(fan_in + 3, self.unit), self.stored(1)
        underflow = 4.0 * (underflow_upper_bound(self.unit, fan_in, 1) + stored.absolute)
        return RoundingTerm((inside + stored.relative * (1.0 + inside)) * (1.0 + 2.0**-40), underflow)


class _Float32Forward(Program):
    """``model(x)`` of a float32 network: every operator in float32, its rounding measured at the image."""

    def rounding(self, operator: Operator, input_shape: Shape, term: RoundingTerm) -> Rounding:
        return operator.float32_rounding(input_shape)

    def storage(self, operator: Operator, input_shape: Shape, term: RoundingTerm) -> RoundingTerm:
        return RoundingTerm.EXACT  # what an operator returns is float32 already


FLOAT64 = Program(_DOUBLE, False, 2.0**300, 2.0**1000)
FLOAT32 = Program(_DOUBLE, True, 2.0**55, 2.0**126)
"""float32 storage, every operator in float64: what `float32_program` runs."""
FLOAT32_FORWARD = _Float32Forward(_SINGLE, True, 2.0**126, 2.0**126)

SPOKEN_OF = {
    "real": "the exact real-valued function that the stored weights define",
    "float64": "the operators in float64, rounding included",
    "float32": "the operators in float64 with float32 storage between them, rounding included",
    "forward": "model(x) in its own dtype, rounding included",
}
"""What a figure speaks of: the one word for it, and what that means."""

PROGRAMS = tuple(SPOKEN_OF)
"""The names of the arithmetics; "real" is no program but the function itself."""


def program_of(model: CertifiedClassifier, arithmetic: str) -> Program | None:
    """None for "real". ``model(x)`` of a float64 network is the float64 program."""
    forward = FLOAT64 if model.dtype == torch.float64 else FLOAT32_FORWARD
    return {"real": None, "float64": FLOAT64, "float32": FLOAT32, "forward": forward}[arithmetic]


def require_program(model: CertifiedClassifier, arithmetic: str) -> Program | None:
    """Raises ConfigError where the arithmetic cannot run this network, or where its weights may overflow there."""
    program = program_of(model, arithmetic)
    if program is None:
        return None
    if program is FLOAT32 and model.dtype != torch.float32:
        raise ConfigError(f"arithmetic {arithmetic!r} needs float32 weights, this network's are {model.dtype}")
    numbers = [value for one in all_operators(model.layers) for value in one.settings().values()]
    sizes = [float(buffer.abs().max()) for buffer in model.buffers()]
    sizes += [abs(float(value)) for value in numbers if isinstance(value, int | float)]
    if any(size >= program.largest for size in sizes):
        limit = f"2^{int(math.log2(program.largest))}"
        raise ConfigError(f"weights of {limit} or more may overflow in {arithmetic}; only arithmetic='real' is proved")
    return program


def float32_program(model: CertifiedClassifier) -> Callable[[Tensor], Tensor]:
    """The program that ``arithmetic="float32"`` certifies: (B, C, H, W) -> logits (B, K) float32.

    Weights and what every operator returns are float32; inside, an operator computes in float64. Raises
    ConfigError for a network of another dtype.
    """
    require_program(model, "float32")
    layers = [layer.map_tensors(torch.Tensor.double) for layer in model.layers]

    def logits(x: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            v = x.float()
            for layer in layers:
                v = layer.apply(v.double()).float()
            return v

    return logits
