"""A float64 forward pass that carries a proved bound of its own rounding error.

Per image, with exact activations z_l and computed ones v_l of layer l:

    at the image      ||v_l - z_l|| <= error,         error' = Lip error + a ||v_l|| + b
    in its ball       at distance delta <= r the same with error(delta) = constant + slope * delta, since
                      ||v_l(x')|| <= ||v_l(x)|| + error + reach_l * delta + error(delta)

where (a, b) is the operator's rounding term and reach_l the Lipschitz bound of the layers before it.
The recursion follows Murray (arXiv 2603.13334), with measured activation norms at the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lip_plugin.bounds.rounding import frobenius_upper_bounds
from lip_plugin.certificates.arithmetic import UNIT_ROUNDOFF
from lip_plugin.certificates.lipschitz import LipschitzBound
from lip_plugin.errors import DataError
from lip_plugin.network import CertifiedClassifier, Operator, RoundingTerm

INFLATION = 1.0 + 2.0**-40
"""Above the rounding of the few float64 operations that evaluate a line of the recursion."""
LARGEST_ACTIVATION = 2.0**300
"""Below it, with weights below it too, no product, square or sum of a float64 layer overflows."""


@dataclass(frozen=True)
class Enclosure:
    """Features (B, D) as computed, and upper bounds per image (B,), all float64.

    ``norm`` bounds ||features||, ``error`` the distance to the exact features at the image, and
    ``ball_error + ball_slope * delta`` that distance anywhere within ``delta`` of the image, as long as
    delta stays below ``ball_limit``, where an activation could leave the range in which nothing overflows.
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


class EnclosedForward:
    """The feature path of a network, prepared once and applied to many batches."""

    def __init__(self, model: CertifiedClassifier, bound: LipschitzBound) -> None:
        steps: list[_Step] = []
        reach = 1.0
        for operator, shape, layer in zip(model.operators, model.layer_input_shapes, bound.layers, strict=False):
            term = operator.rounding_term(shape, UNIT_ROUNDOFF)
            steps.append(_Step(operator.map_tensors(torch.Tensor.double), layer.value, reach, term))
            reach *= layer.value * INFLATION
        self._steps: Sequence[_Step] = steps
        self.reach = reach
        """Upper bound of the Lipschitz constant into features."""

    def __call__(self, x: Tensor) -> Enclosure:
        """x (B, C, H, W), exact in float64."""
        v = x.double()
        zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        error, ball_error, ball_slope = zero, zero, zero
        ball_limit = torch.full_like(zero, LARGEST_ACTIVATION)
        for step in self._steps:
            if step.term.relative or step.term.absolute:
                norm, relative, absolute = _norms(v), step.term.relative, step.term.absolute
                far = norm + error + ball_error
                ball_error = (step.lipschitz * ball_error + relative * far + absolute) * INFLATION
                ball_slope = (step.lipschitz * ball_slope + relative * (step.reach + ball_slope)) * INFLATION
                error = (step.lipschitz * error + relative * norm + absolute) * INFLATION
            elif step.lipschitz != 1.0:
                error, ball_error, ball_slope = (
                    step.lipschitz * value * INFLATION for value in (error, ball_error, ball_slope)
                )
            v = step.operator.apply(v)
            if not bool(torch.isfinite(v).all()):
                # A later ReLU would turn -inf into an innocent 0.
                raise DataError("activations overflow float64 on these images; nothing can be certified")
            far, growth = _norms(v) + error + ball_error, step.reach * step.lipschitz + ball_slope
            room = (LARGEST_ACTIVATION - far).clamp_min(0.0) / (growth * INFLATION).clamp_min(1.0)
            ball_limit = torch.minimum(ball_limit, room)
        return Enclosure(v, _norms(v), error, ball_error, ball_slope, ball_limit)


def _norms(v: Tensor) -> Tensor:
    """(B,) upper bounds of the 2-norms of a batch."""
    return frobenius_upper_bounds(v).to(v.device)
