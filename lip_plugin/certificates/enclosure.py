"""A float64 forward pass that carries a proved bound of its own rounding error, and of another program's.

Per image, with exact activations z_l, those v_l computed here in float64, and those p_l of the program:

    at the image      ||v_l - z_l|| <= error,         error' = Lip error + a ||v_l|| + b
    in its ball       ||p_l(x') - z_l(x')|| <= constant + slope * delta at distance delta, since
                      ||p_l(x')|| <= ||v_l(x)|| + error + reach_l * delta + constant + slope * delta

where (a, b) is the operator's rounding term in the arithmetic at hand and reach_l the Lipschitz bound of the
layers before it. A program that stores what an operator returns in a shorter format adds u times the norm
of that. Where an operator measures its rounding at the image (`float32_rounding`), that takes the place of a ||v|| + b.
The recursion follows Murray (arXiv 2603.13334), with measured activation norms at the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lip_plugin.bounds.rounding import frobenius_upper_bounds, gamma, norms_upper_bound
from lip_plugin.certificates.arithmetic import UNIT_ROUNDOFF
from lip_plugin.certificates.lipschitz import LipschitzBound
from lip_plugin.certificates.program import FLOAT64, Program
from lip_plugin.errors import DataError
from lip_plugin.network import CertifiedClassifier, Operator, Rounding, RoundingAt, RoundingTerm
from lip_plugin.network.operators.chain import is_finite_inside

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
    rounding: Rounding
    storage: RoundingTerm


class EnclosedForward:
    """The feature path of a network, prepared once and applied to many batches.

    ``program`` is what the ball's figures speak about; without one, the float64 program.
    """

    def __init__(self, model: CertifiedClassifier, bound: LipschitzBound, program: Program | None = None) -> None:
        program = FLOAT64 if program is None else program
        steps: list[_Step] = []
        reach = 1.0
        for operator, shape, layer in zip(model.operators, model.layer_input_shapes, bound.layers, strict=False):
            wide, term = operator.map_tensors(torch.Tensor.double), operator.rounding_term(shape, UNIT_ROUNDOFF)
            of_program = program.rounding(operator, shape, term), program.storage(operator, shape, term)
            steps.append(_Step(wide, layer.value, reach, term, *of_program))
            reach *= layer.value * INFLATION
        self._steps: Sequence[_Step] = steps
        self.reach = reach
        """Upper bound of the Lipschitz constant into features."""

        self._of_images = program.stored(math.prod(model.input_shape))
        self._largest = program.largest

    def __call__(self, x: Tensor) -> Enclosure:
        """x (B, C, H, W), exact in float64."""
        v = x.double()
        norm, zero = _norms(v), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        error, limit = zero, torch.full_like(zero, self._largest)
        ball = _Ball(zero, zero).after(RoundingAt.by_term(self._of_images, norm), zero, 1.0)
        for step in self._steps:
            out = step.operator.apply(v)
            after = _norms(out)
            if not (bool(torch.isfinite(after).all()) and is_finite_inside(step.operator, v)):
                # A later ReLU would turn -inf into an innocent 0.
                raise DataError("activations overflow float64 on these images; nothing can be certified")
            inside = step.rounding(v, out, norm)
            limit = torch.minimum(limit, ball.room(self._largest, inside, error, step.reach))
            ball = ball.after(inside, error, step.reach, step.lipschitz)
            error = (step.lipschitz * error + step.term.relative * norm + step.term.absolute) * INFLATION
            v, norm, reach = out, after, step.reach * step.lipschitz * INFLATION
            stored = RoundingAt.by_term(step.storage, norm)
            ball = ball.after(stored, error, reach)
            limit = torch.minimum(limit, ball.room(self._largest, stored, error, reach))
        return Enclosure(v, norm, error, ball.error, ball.slope, limit)


@dataclass(frozen=True)
class _Ball:
    """The program's error ``error + slope * delta`` at distance delta from the image, (B,) each."""

    error: Tensor
    slope: Tensor

    def after(self, rounding: RoundingAt, centre: Tensor, reach: float, lipschitz: float = 1.0) -> _Ball:
        """After a map of this Lipschitz bound that rounds like this near what was computed at the image.

        The program's input there is off by ``centre``, the error of that, by this error, and by ``reach * delta``.
        """
        error = lipschitz * self.error + rounding.error + rounding.growth * (self.error + centre)
        slope = lipschitz * self.slope + rounding.growth * (reach + self.slope)
        return _Ball(error * INFLATION, slope * INFLATION)

    def room(self, largest: float, rounding: RoundingAt, centre: Tensor, reach: float) -> Tensor:
        """(B,) the distance within which no number of the program, on its way through the map, reaches ``largest``."""
        peak = (rounding.peak + rounding.swell * (self.error + centre)) * INFLATION
        return (largest - peak).clamp_min(0.0) / (rounding.swell * (reach + self.slope) * INFLATION).clamp_min(1.0)


def _norms(v: Tensor) -> Tensor:
    """(B,) upper bounds of the 2-norms of a batch; not finite where an entry is not, or where they overflow."""
    return norms_upper_bound(v.flatten(1))


def difference_quotient_lower_bound(enclosed: EnclosedForward, a: Tensor, b: Tensor) -> float:
    """The largest of ||h(a) - h(b)|| / ||a - b|| over pairs (B, C, H, W) of float64, h the exact features."""
    at_a, at_b = enclosed(a), enclosed(b)
    difference = at_a.features - at_b.features
    apart = torch.linalg.vector_norm(difference, dim=1) * (1.0 - gamma(2 * difference.shape[1] + 16))
    error = (at_a.error + at_b.error) * INFLATION
    distance = frobenius_upper_bounds(a - b).to(a.device) * (1.0 + 2.0**-50)  # the difference is rounded too
    quotient = (apart - error) / distance * (1.0 - 2.0**-50)
    return max(0.0, float(quotient.nan_to_num(nan=0.0).max()))
