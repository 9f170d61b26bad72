"""A float64 forward pass that carries a proved bound of its own rounding error, and of another program's.

Per image, with exact activations z_l, those v_l computed here in float64, and those p_l of the program:

    at the image      ||v_l - z_l|| <= error,         error' = Lip error + a ||v_l|| + b
    in its ball       ||p_l(x') - z_l(x')|| <= constant + slope * delta at distance delta, since
                      ||p_l(x')|| <= ||v_l(x)|| + error + reach_l * delta + constant + slope * delta

where (a, b) is the operator's rounding term in the arithmetic at hand and reach_l the Lipschitz bound of the
layers before it. A program that stores what an operator returns in a shorter format adds u times the norm
of that.
The recursion follows Murray (arXiv 2603.13334), with measured activation norms at the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lip_plugin.bounds.rounding import frobenius_upper_bounds, gamma
from lip_plugin.certificates.arithmetic import UNIT_ROUNDOFF
from lip_plugin.certificates.lipschitz import LipschitzBound
from lip_plugin.certificates.program import FLOAT64, Program
from lip_plugin.errors import DataError
from lip_plugin.network import CertifiedClassifier, Operator, RoundingTerm

INFLATION = 1.0 + 2.0**-40
"""Above the rounding of the few float64 operations that evaluate a line of the recursion."""


@dataclass(frozen=True)
class Enclosure:
    """Features (B, D) as computed, and upper bounds per image (B,), all float64.

    ``norm`` bounds ||features||, ``error`` their distance to the exact ones at the image, and
    ``ball_error + ball_slope * delta`` the distance of the program's features to the exact ones anywhere
    within ``delta`` of the image, as long as delta stays below ``ball_limit``, where an activation could
    leave the range in which nothing overflows.
    """

    features: Tensor
    norm: Tensor
    error: Tensor
    ball_error: Tensor
    ball_slope: Tensor
    ball_limit: Tensor


@dataclass(frozen=True)
class _Step:
    operator: Operator
    lipschitz: float
    reach: float
    term: RoundingTerm
    program_term: RoundingTerm
    storage: RoundingTerm


class EnclosedForward:
    """The feature path of a network, prepared once and applied to many batches.

    ``program`` is what the ball's figures speak about; without one, the float64 program.
    """

    def __init__(self, model: CertifiedClassifier, bound: LipschitzBound, program: Program | None = None) -> None:
        program = FLOAT64 if program is None else program
        steps: list[_Step] = []
        reach = 1.0
        shapes = model.layer_input_shapes
        for operator, shape, out, layer in zip(model.operators, shapes, shapes[1:], bound.layers, strict=False):
            term, program_term = operator.rounding_term(shape, UNIT_ROUNDOFF), program.term(operator, shape)
            storage = program.storage(program_term == RoundingTerm.EXACT, math.prod(out))
            wide = operator.map_tensors(torch.Tensor.double)
            steps.append(_Step(wide, layer.value, reach, term, program_term, storage))
            reach *= layer.value * INFLATION
        self._steps: Sequence[_Step] = steps
        self.reach = reach
        """Upper bound of the Lipschitz constant into features."""

        self._of_images = program.storage(False, math.prod(model.input_shape))
        self._largest = program.largest

    def __call__(self, x: Tensor) -> Enclosure:
        """x (B, C, H, W), exact in float64."""
        v = x.double()
        norm, zero = _norms(v), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        error, limit = zero, torch.full_like(zero, self._largest)
        ball = _Ball(zero, zero).after_rounding(self._of_images, norm, 1.0)
        for step in self._steps:
            ball = ball.after_rounding(step.program_term, norm + error, step.reach, step.lipschitz)
            error = (step.lipschitz * error + step.term.relative * norm + step.term.absolute) * INFLATION
            v = step.operator.apply(v)
            if not bool(torch.isfinite(v).all()):
                # A later ReLU would turn -inf into an innocent 0.
                raise DataError("activations overflow float64 on these images; nothing can be certified")
            norm, reach = _norms(v), step.reach * step.lipschitz * INFLATION
            ball = ball.after_rounding(step.storage, norm + error, reach)
            limit = torch.minimum(limit, ball.room(self._largest, norm + error, reach))
        return Enclosure(v, norm, error, ball.error, ball.slope, limit)


@dataclass(frozen=True)
class _Ball:
    """The program's error ``error + slope * delta`` at distance delta from the image, (B,) each."""

    error: Tensor
    slope: Tensor

    def after_rounding(self, term: RoundingTerm, norm: Tensor, reach: float, lipschitz: float = 1.0) -> _Ball:
        """After a map of this Lipschitz bound that rounds by ``term`` relative to a norm.

        The exact value has at most ``norm`` at the image and ``norm + reach * delta`` away from it; the
        program's differs from it by as much as this error says.
        """
        if not (term.relative or term.absolute or lipschitz != 1.0):
            return self
        error = lipschitz * self.error + term.relative * (norm + self.error) + term.absolute
        slope = lipschitz * self.slope + term.relative * (reach + self.slope)
        return _Ball(error * INFLATION, slope * INFLATION)

    def room(self, largest: float, norm: Tensor, reach: float) -> Tensor:
        """(B,) the distance within which no activation of the program reaches ``largest``."""
        return (largest - norm - self.error).clamp_min(0.0) / ((reach + self.slope) * INFLATION).clamp_min(1.0)


def _norms(v: Tensor) -> Tensor:
    """(B,) upper bounds of the 2-norms of a batch."""
    return frobenius_upper_bounds(v).to(v.device)


def difference_quotient_lower_bound(enclosed: EnclosedForward, a: Tensor, b: Tensor) -> float:
    """The largest of ||h(a) - h(b)|| / ||a - b|| over pairs (B, C, H, W) of float64, h the exact features."""
    at_a, at_b = enclosed(a), enclosed(b)
    difference = at_a.features - at_b.features
    apart = torch.linalg.vector_norm(difference, dim=1) * (1.0 - gamma(2 * difference.shape[1] + 16))
    error = (at_a.error + at_b.error) * INFLATION
    distance = frobenius_upper_bounds(a - b).to(a.device) * (1.0 + 2.0**-50)  # the difference is rounded too
    quotient = (apart - error) / distance * (1.0 - 2.0**-50)
    return max(0.0, float(quotient.nan_to_num(nan=0.0).max()))
