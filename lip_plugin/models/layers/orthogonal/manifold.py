"""Adam on the orthogonal group: moments of the gradient in the Lie algebra, steps along geodesics.

Sources: LipNeXt (arXiv 2601.18513) for the update X <- X FastExp(A) and its orders; that A is an Adam step, and its
constants, are read from later public code of its first author (docs/lipnext.md says what is whose choice).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn

_SECOND, _THIRD, _FOURTH = 0.05, 0.25, 1.0
"""Frobenius norms below which the exponential's series ends with its second, third and fourth power."""
_ENTRIES_AT_ONCE = 2**25
"""Of float64 copies: 256 MiB each."""


class ManifoldAdam(torch.optim.Optimizer):
    """Adam whose parameters are stacks (..., N, N) of orthogonal matrices, and stay so up to rounding.

    With S = skew(X^T G), G the gradient, and Adam's moments of S entry by entry: A = -lr m / (sqrt v + eps) is skew,
    X <- X exp(A). ``nesterov``: the look-ahead of NAdam (Dozat 2016), without momentum decay.

    Exponential and product are computed in float64 and rounded once, so that an entry is off by half a unit in the
    last place per step; what that and the truncated series add up to is for `polar` to remove at the end of an epoch.
    The host never waits for a GPU, except where a step of norm 1 or more is possible (see `fast_exp`).
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "nesterov": nesterov})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)
        return loss

    def _step(self, x: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        algebra = _skew(x.mT @ gradient)
        state = self.state[x]
        if not state:
            state.update(step=0, mean=torch.zeros_like(algebra), square=torch.zeros_like(algebra))
        state["step"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(algebra, 1 - first)
        state["square"].lerp_(algebra.square(), 1 - second)
        mean_share, own_share = _shares(state["step"], first, nesterov=group["nesterov"])
        direction = mean_share * state["mean"]
        if own_share:
            direction.add_(algebra, alpha=own_share)
        root = (state["square"] / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
        tangent = direction.div_(root).mul_(-group["lr"])
        longest = group["lr"] * x.shape[-1] * largest_ratio(state["step"], first, second, nesterov=group["nesterov"])
        matrices, steps = (value.view(-1, *x.shape[-2:]) for value in (x, tangent))
        at_once = max(1, _ENTRIES_AT_ONCE // matrices[0].numel())
        for part, step in zip(matrices.split(at_once), steps.split(at_once), strict=True):
            part.copy_(part.double() @ fast_exp(_skew(step.double()), longest))


def _skew(matrices: Tensor) -> Tensor:
    """The part that changes its sign when transposed."""
    return (matrices - matrices.mT) / 2


def _shares(step: int, first: float, *, nesterov: bool) -> tuple[float, float]:
    """How much of the first moment and of the gradient itself, bias corrected, a step takes."""
    if not nesterov:
        return 1 / (1 - first**step), 0.0
    return first / (1 - first ** (step + 1)), (1 - first) / (1 - first**step)


def largest_ratio(step: int, first: float, second: float, *, nesterov: bool) -> float:
    """How large an entry of a step can be over the learning rate, whatever the gradients were.

    The moments are m = (1 - b) sum b^(t - i) g_i and v = (1 - c) sum c^(t - i) g_i^2, so by Cauchy-Schwarz
    |m| <= (1 - b) / sqrt(1 - c) sqrt(sum (b^2 / c)^(t - i)) sqrt(v): 1 at the first step, 7.3 after thousands with the
    usual constants, and hardly ever near it. |g| <= sqrt(v / (1 - c)).
    """
    mean_share, own_share = _shares(step, first, nesterov=nesterov)
    terms = sum((first**2 / second) ** i for i in range(min(step, 1000)))
    of_mean = (1 - first) * math.sqrt(terms)
    return (mean_share * of_mean + own_share) * math.sqrt((1 - second**step) / (1 - second))


def fast_exp(a: Tensor, longest: float = math.inf) -> Tensor:
    """(..., N, N) skew -> the exponential, by as many powers as the Frobenius norm of each matrix asks for.

    Below 0.05 I + A + A^2 / 2, below 0.25 also A^3 / 6, below 1 also A^4 / 24, else `matrix_exp`. The orders differ in
    coefficients alone, which are chosen on the device: two products in any case. ``longest`` is a bound of the norms
    that the host knows: only where it is 1 or more must a GPU be asked whether a matrix is that long. A CPU is asked
    each time, and saves the second product where all matrices are short.
    """
    norm = torch.linalg.matrix_norm(a)
    if a.device.type == "cpu":
        longest = float(norm.max())
    identity = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    square = a @ a
    if longest < _SECOND:
        return identity + a + square / 2
    third, fourth = ((norm >= least).to(a.dtype)[..., None, None] for least in (_SECOND, _THIRD))
    result = identity + a + square @ (identity / 2 + third * a / 6 + fourth * square / 24)
    if longest >= _FOURTH and bool((norm >= _FOURTH).any()):
        long = norm >= _FOURTH
        result[long] = torch.linalg.matrix_exp(a[long])
    return result
