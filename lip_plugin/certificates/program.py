"""The floating-point programs that a certificate can speak about, each by its rounding."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lip_plugin.errors import ConfigError
from lip_plugin.network import CertifiedClassifier, Operator, RoundingTerm
from lip_plugin.network.operators.rounding import gamma_upper_bound, underflow_upper_bound
from lip_plugin.types import Shape

_DOUBLE, _SINGLE = 2.0**-53, 2.0**-24
_SMALLEST_SINGLE = 2.0**-149


@dataclass(frozen=True)
class Program:
    """How a network is executed.

    ``unit`` is the unit roundoff inside an operator. With ``stored_in_float32`` the images and what every
    operator returns are rounded to float32 on top. ``largest``: as long as activations and weights stay
    below it nothing overflows.
    """

    unit: float
    stored_in_float32: bool
    largest: float

    def term(self, operator: Operator, input_shape: Shape) -> RoundingTerm:
        """The rounding inside the operator."""
        return operator.rounding_term(input_shape, self.unit)

    def storage(self, exact: bool, entries: int) -> RoundingTerm:
        """Rounding of ``entries`` numbers to what is stored, relative to their norm; none where they are ``exact``."""
        if exact or not self.stored_in_float32:
            return RoundingTerm.EXACT
        return RoundingTerm(_SINGLE, _SMALLEST_SINGLE * math.sqrt(entries))

    def head(self, fan_in: int) -> RoundingTerm:
        """Of the difference of two logits, relative to (||w_i|| + ||w_j||) ||features|| + |b_i| + |b_j| + |difference|.

        Dot product of ``fan_in`` terms, the bias and the difference, then storage.
        """
        inside, stored = gamma_upper_bound(fan_in + 3, self.unit), self.storage(False, 1)
        underflow = 4.0 * (underflow_upper_bound(self.unit, fan_in, 1) + stored.absolute)
        return RoundingTerm((inside + stored.relative * (1.0 + inside)) * (1.0 + 2.0**-40), underflow)


FLOAT64 = Program(_DOUBLE, False, 2.0**300)
FLOAT32 = Program(_DOUBLE, True, 2.0**55)
"""float32 storage, every operator in float64: what `float32_program` runs. Logits stay below sqrt(D) 2^110 + 2^55."""
PLAIN_FLOAT32 = Program(_SINGLE, True, 2.0**45)
"""float32 throughout, sums in any order: products below 2^90, sums of 2^30 of them below 2^120."""

PROGRAMS: dict[str, Program | None] = {
    "real": None,
    "float64": FLOAT64,
    "float32": FLOAT32,
    "plain_float32": PLAIN_FLOAT32,
}
"""By the name of the arithmetic; "real" is no program but the function itself."""


def require_program(model: CertifiedClassifier, arithmetic: str) -> Program | None:
    """Raises ConfigError where the arithmetic cannot run this network, or where its weights may overflow there."""
    program = PROGRAMS[arithmetic]
    if program is None:
        return None
    if program.stored_in_float32 and model.dtype != torch.float32:
        raise ConfigError(f"arithmetic {arithmetic!r} needs float32 weights, this network's are {model.dtype}")
    if any(float(buffer.abs().max()) >= program.largest for buffer in model.buffers()):
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
