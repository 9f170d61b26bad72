"""Bounds and rounding of operators one after the other, for operators that hold others.

The recursions are those of a whole network (`certificates.enclosure`), from the input of the chain: exact values z_k,
values v_k that float64 computes at the image, and p_k of the program somewhere in a ball around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lip_plugin.bounds.rounding import U, add_up, frobenius_upper_bound, frobenius_upper_bounds, mul_up
from lip_plugin.network.operators.base import NormEstimates, Operator, Rounding, RoundingAt, RoundingTerm
from lip_plugin.network.operators.proved import proved_bound
from lip_plugin.types import Shape

_INFLATION = 1.0 + 2.0**-40
"""Above the rounding of the few float64 operations that evaluate a line of the recursion."""


def chain_output_shape(operators: Sequence[Operator], shape: Shape) -> Shape:
    """Raises UnsupportedLayerError where an operator does not fit."""
    for operator in operators:
        shape = operator.output_shape(shape)
    return shape


def chain_upper_bound(operators: Sequence[Operator], shape: Shape) -> float:
    """The outward-rounded product of the operators' Lipschitz bounds; 1 for none."""
    bounds: list[float] = []
    for operator in operators:
        bounds.append(proved_bound(operator, shape).value)
        shape = operator.output_shape(shape)
    return mul_up(*bounds)


def chain_estimate(operators: Sequence[Operator], shape: Shape, norms: NormEstimates) -> Tensor:
    """The product of the operators' estimates, for training; 1 for none."""
    product = norms.one
    for operator in operators:
        product = product * operator.lipschitz_estimate(shape, norms)
        shape = operator.output_shape(shape)
    return product


@dataclass(frozen=True)
class ChainTerm:
    """Of a chain f: its rounding, and ||f(x)|| <= gain * ||x|| + at_zero. Upper bounds all of them."""

    rounding: RoundingTerm
    gain: float
    at_zero: float


def chain_term(operators: Sequence[Operator], shape: Shape, unit: float) -> ChainTerm:
    """Every operator is given what the one before computed: its rounding is relative to the norm of that."""
    relative, absolute, gain, at_zero = 0.0, 0.0, 1.0, 0.0
    for operator in operators:
        lipschitz = proved_bound(operator, shape).value
        term = operator.rounding_term(shape, unit)
        relative, absolute = (
            add_up(mul_up(lipschitz, relative), mul_up(term.relative, add_up(gain, relative))),
            add_up(mul_up(lipschitz, absolute), mul_up(term.relative, add_up(at_zero, absolute)), term.absolute),
        )
        gain, at_zero = (
            mul_up(lipschitz, gain),
            add_up(mul_up(lipschitz, at_zero), _norm_at_zero_upper_bound(operator, shape, term if unit == U else None)),
        )
        shape = operator.output_shape(shape)
    return ChainTerm(RoundingTerm(relative, absolute), gain, at_zero)


def sum_term(chains: Sequence[ChainTerm], unit: float) -> RoundingTerm:
    """Of the sum of what chains compute: their roundings, and one of the addition, relative to both."""
    relative = add_up(*(chain.rounding.relative for chain in chains))
    absolute = add_up(*(chain.rounding.absolute for chain in chains))
    return RoundingTerm(
        add_up(relative, mul_up(unit, add_up(relative, *(chain.gain for chain in chains)))),
        add_up(absolute, mul_up(unit, add_up(absolute, *(chain.at_zero for chain in chains)))),
    )


@dataclass(frozen=True)
class Reach:
    """No number that is passed on inside an operator exceeds ``gain * ||x|| + at_zero``, but for rounding."""

    gain: float
    at_zero: float


def reach_inside(operator: Operator, shape: Shape) -> Reach:
    """Of the chains inside an operator, and of those inside their operators: (1, 0) where there are none."""
    most, offset = 1.0, 0.0
    for chain in operator.chains():
        gain, at_zero, inner = 1.0, 0.0, shape
        for one in chain:
            own = reach_inside(one, inner)
            most = max(most, mul_up(own.gain, gain))
            offset = max(offset, add_up(mul_up(own.gain, at_zero), own.at_zero))
            lipschitz = proved_bound(one, inner).value
            gain = mul_up(lipschitz, gain)
            at_zero = add_up(mul_up(lipschitz, at_zero), _norm_at_zero_upper_bound(one, inner))
            most, offset, inner = max(most, gain), max(offset, at_zero), one.output_shape(inner)
    return Reach(most, offset)


def is_finite_inside(operator: Operator, x: Tensor) -> bool:
    """Whether all numbers are that are passed on inside an operator: a bounded function hides what overflowed."""
    for chain in operator.chains():
        v = x
        for one in chain:
            if not is_finite_inside(one, v):
                return False
            v = one.apply(v)
            if not bool(torch.isfinite(v).all()):
                return False
    return True


def _norm_at_zero_upper_bound(operator: Operator, shape: Shape, term: RoundingTerm | None = None) -> float:
    """||f(0)||: as float64 computes it, and the error of that, which is absolute there. ``term`` where it is known.

    Asked for twice at every depth, the term of operators inside operators would take time exponential in the depth.
    """
    wide = operator.map_tensors(torch.Tensor.double)
    held = next(iter(wide.tensors().values()), None)
    zero = torch.zeros((1, *shape), dtype=torch.float64, device="cpu" if held is None else held.device)
    absolute = (operator.rounding_term(shape, U) if term is None else term).absolute
    return add_up(frobenius_upper_bound(wide.apply(zero)), absolute)


@dataclass(frozen=True)
class ChainAt:
    """Of a chain in float32 near inputs x, (B,) each where not a number.

    At distance d from x the program is off by ``error + slope * d``, and what it returns is at most
    ``norm + growth * d`` in norm; ``peak + swell * d`` bounds every number on its way.
    """

    error: Tensor
    slope: float
    norm: Tensor
    growth: float
    peak: Tensor
    swell: float


@dataclass(frozen=True)
class _Step:
    wide: Operator
    lipschitz: float
    term: RoundingTerm
    rounding: Rounding


def chain_rounding(operators: Sequence[Operator], shape: Shape) -> Callable[[Tensor, Tensor], ChainAt]:
    """Prepared once for inputs of this shape; called with x (B, ...) float64 and upper bounds (B,) of ||x||."""
    steps: list[_Step] = []
    for operator in operators:
        bound, term = proved_bound(operator, shape).value, operator.rounding_term(shape, U)
        rounding = operator.float32_rounding(shape)
        steps.append(_Step(operator.map_tensors(torch.Tensor.double), bound, term, rounding))
        shape = operator.output_shape(shape)

    def at(x: Tensor, norm: Tensor) -> ChainAt:
        centre = error = torch.zeros_like(norm)  # of v_k against z_k, and of the program
        slope, reach = 0.0, 1.0
        peak, swell = norm, 1.0
        for step in steps:
            y = step.wide.apply(x)
            inside = step.rounding(x, y, norm)
            off, per_distance = error + centre, reach + slope  # of the program's input from x
            peak = torch.maximum(peak, inside.peak + inside.swell * off) * _INFLATION
            swell = max(swell, inside.swell * per_distance) * _INFLATION
            error = (step.lipschitz * error + inside.error + inside.growth * off) * _INFLATION
            slope = (step.lipschitz * slope + inside.growth * per_distance) * _INFLATION
            centre = (step.lipschitz * centre + step.term.relative * norm + step.term.absolute) * _INFLATION
            x, norm, reach = y, frobenius_upper_bounds(y).to(y.device), reach * step.lipschitz * _INFLATION
            peak = torch.maximum(peak, norm + error + centre) * _INFLATION
            swell = max(swell, reach + slope) * _INFLATION
        return ChainAt(error, slope, (norm + error + centre) * _INFLATION, (reach + slope) * _INFLATION, peak, swell)

    return at


def sum_rounding(chains: Sequence[ChainAt], unit: float) -> RoundingAt:
    """Of the sum of what chains compute near the same inputs."""
    norm, growth = sum(chain.norm for chain in chains), sum(chain.growth for chain in chains)
    error, slope = sum(chain.error for chain in chains), sum(chain.slope for chain in chains)
    peak, swell = sum(chain.peak for chain in chains), sum(chain.swell for chain in chains)
    assert isinstance(norm, Tensor) and isinstance(error, Tensor) and isinstance(peak, Tensor)
    return RoundingAt(
        (error + unit * norm) * _INFLATION,
        (slope + unit * growth) * _INFLATION,
        (peak + unit * norm) * _INFLATION,
        (swell + unit * growth) * _INFLATION,
    )
