"""Two images across a decision boundary that lies where an operator is steepest: what refutes a radius too large."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lip_plugin.network import CertifiedClassifier, Flatten, Head, Offset, Operator, Scale

_STEP = 1e-4
"""Of the images from the boundary, in pixels."""


@dataclass(frozen=True)
class Canary:
    """``x`` (2, C, H, W): images of classes 0 and 1. ``stretch`` is the norm of the Jacobian between them that was
    measured, ``bound`` the operator's upper bound, both of the operator alone.
    """

    model: CertifiedClassifier
    x: Tensor
    stretch: float
    bound: float

    def closest_adversarial_distance(self) -> float:
        """How far the nearer image is from the boundary, along the line between them, by bisection."""
        a, b = self.x.to(self.model.dtype)
        low, high = 0.0, 1.0
        with torch.no_grad():
            for _ in range(60):
                middle = (low + high) / 2
                first = int(self.model((a + (b - a) * middle)[None]).argmax()) == 0
                low, high = (middle, high) if first else (low, middle)
        apart = float((a - b).norm())
        return min(high, 1.0 - low) * apart


def on_images(operator: Operator, centre: Tensor, dtype: torch.dtype) -> Canary:
    """The operator behind a shift and a scale that bring pixels to inputs around ``centre`` (*input_shape) float64.

    ``dtype`` is that of the operator's tensors, where it has some. Logits are +-(u . (f(x) - f(centre))), u the
    direction in which the operator moves by its steepest step.
    """
    wide = operator.map_tensors(torch.Tensor.double)
    size = 2.5 * max(1.0, float(centre.abs().max()))
    flat, map_shape = centre.dim() != 3, tuple(centre.shape) if centre.dim() == 3 else (1, 1, centre.numel())
    before: list[Operator] = [Offset(torch.tensor(-0.5, dtype=dtype)), Scale(torch.tensor(size, dtype=dtype))]
    before += [Flatten()] if flat else []
    direction, moved = steepest_step(wide.apply, centre)
    after: list[Operator] = [] if len(operator.output_shape(tuple(centre.shape))) == 1 else [Flatten()]
    middle = float(wide.apply(centre[None]).flatten() @ (moved / moved.norm()))
    u = moved / moved.norm() / 2
    head = Head(torch.stack([u, -u]).to(dtype), torch.tensor([-middle, middle], dtype=torch.float64).to(dtype) / 2)
    channels, height, width = map_shape
    model = CertifiedClassifier([*before, operator, *after], head, input_shape=(channels, height, width))
    image = (centre / size + 0.5).reshape(map_shape)
    step = _STEP * direction.reshape(map_shape)
    bound = operator.lipschitz_upper_bound(tuple(centre.shape)).value
    return Canary(model, torch.stack([image + step, image - step]), float(moved.norm()), bound)


def steepest_step(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """A unit direction (*input_shape) that the Jacobian at a point stretches most, and what it makes of it (D,).

    Among several such directions a random combination: an isometry is steep in every one.
    """
    jacobian = torch.autograd.functional.jacobian(lambda one: function(one[None])[0].flatten(), at)
    assert isinstance(jacobian, Tensor)
    matrix = jacobian.reshape(-1, at.numel())
    _, values, rows = torch.linalg.svd(matrix, full_matrices=False)
    top = rows[values >= values[0] * (1 - 1e-7)]
    draws = torch.randn(len(top), generator=torch.Generator().manual_seed(3), dtype=at.dtype)
    direction = draws @ top / math.sqrt(float((draws @ top).square().sum()))
    return direction.reshape(at.shape), matrix @ direction
