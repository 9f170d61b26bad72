"""Lipschitz upper bounds of a whole network, composed from its operators and outward-rounded."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index as whole

import torch
from torch import Tensor, nn

from lip_plugin.bounds import effort, row_distance_upper_bound
from lip_plugin.bounds.rounding import mul_up
from lip_plugin.certificates.arithmetic import certifying_arithmetic
from lip_plugin.certificates.together import Merged, merged
from lip_plugin.errors import ConfigError, UnsupportedLayerError
from lip_plugin.network import CertifiedClassifier, Operator, require_unaltered, way_to_module
from lip_plugin.network.kinds import foreign_operators
from lip_plugin.network.operators.proved import proved_bound
from lip_plugin.types import Effort, ImageShape, Shape
from lip_plugin.wrapping import operators_of


@dataclass(frozen=True)
class LayerBound:
    """The proved constant of one operator: ``name`` is its position and kind."""

    name: str
    value: float
    method: str


@dataclass(frozen=True)
class LipschitzBound:
    """value >= the L2 Lipschitz constant; at most the outward-rounded product of ``layers``.

    It is below that product where a scale and a linear layer beside it have a smaller norm together
    (`certificates.together`), which ``method`` then says.
    ``method`` names the operators of other packages, whose bounds are trusted. ``effort``: see `lp.bounds_of`.
    """

    value: float
    layers: tuple[LayerBound, ...]
    method: str
    effort: Effort = "quick"


_METHOD = "product of verified operator norms"
_TOGETHER = f"{_METHOD}, scales with the linear layers beside them"
_TRUSTING = "product of operator norms; not proved here but trusted: those of "
_KEPT = 16
_memo: OrderedDict[tuple[str, Effort], LipschitzBound] = OrderedDict()


def lipschitz_upper_bound(
    model_or_module: CertifiedClassifier | nn.Module, *, input_shape: ImageShape | None = None
) -> LipschitzBound:
    """Proved upper bound of the L2 Lipschitz constant, recomputed from the weights, float64 on the CPU.

    For a `CertifiedClassifier`: of the map into features (the head is treated per pair of classes).
    For a supported torch module: of the module itself, and ``input_shape`` (C, H, W) is needed.
    Raises UnsupportedLayerError for a module without an operator or with non-finite weights.
    """
    if isinstance(model_or_module, CertifiedClassifier):
        require_unaltered(model_or_module)
        return settled_bound(model_or_module.copied())
    if not isinstance(model_or_module, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"{type(model_or_module).__name__} has no Lipschitz bound; expected a torch module: "
            f"{way_to_module(model_or_module)}"
        )
    if input_shape is None:
        raise ConfigError("input_shape is missing; a torch module is bounded for one input shape (C, H, W)")
    shape = _shape(input_shape)
    operators = operators_of(model_or_module, type(model_or_module).__name__, shape)
    with certifying_arithmetic():
        return _product(operators, shape)


def _shape(given: Iterable[int]) -> Shape:
    """Also of lists and arrays of integers. Raises ConfigError."""
    try:
        shape = tuple(whole(size) for size in given)
    except TypeError:
        shape = ()
    if not shape or min(shape) < 1:
        shown = " ".join(repr(given).split())[:80]
        raise ConfigError(f"input_shape must be (C, H, W) of positive integers, got {shown}")
    return shape


def pair_lipschitz_upper_bound(model: CertifiedClassifier) -> Tensor:
    """(K, K) float64 on the CPU, entry [i, j] >= Lip(f_i - f_j); the diagonal is 0."""
    require_unaltered(model)
    return settled_pair_bound(model.copied())


def settled_pair_bound(model: CertifiedClassifier) -> Tensor:
    """`pair_lipschitz_upper_bound` of a network into which nothing else writes: the smaller of two bounds.

    The feature constant times head-row distances; and, where a scale before the head goes into its rows, the constant
    of what is before the scale times the distances of the scaled rows.
    """
    plain = pair_bound(model, settled_bound(model).value)
    with certifying_arithmetic():
        found = merged(model.layers, model.layer_input_shapes)
        head = found[-1]
        assert head is not None
        if not head.roundings:
            return plain
        feature_bound = _merged_product(found[:-1], model.layer_input_shapes)
        scaled = _times(head.row_distance_upper_bound(model.head_weight), feature_bound)
    return torch.minimum(plain, scaled)


def pair_bound(model: CertifiedClassifier, feature_bound: float) -> Tensor:
    """Feature constant times direct head-row distances, rounded up."""
    return _times(row_distance_upper_bound(model.head_weight), feature_bound)


def _times(distance: Tensor, feature_bound: float) -> Tensor:
    """Rounded up, and in place: of many classes a matrix of all pairs has GB."""
    # 0 only where the rows are identical or the features constant; elsewhere even an underflow stays positive.
    nothing = (distance <= 0) | (feature_bound <= 0)
    distance.mul_(feature_bound).nextafter_(torch.tensor(torch.inf, dtype=distance.dtype, device=distance.device))
    return distance.masked_fill_(nothing, 0.0)


def settled_bound(model: CertifiedClassifier) -> LipschitzBound:
    """`lipschitz_upper_bound` of a network into which nothing else writes: a private copy.

    Remembered by digest: the digest is recomputed from the weights, so a changed network never hits.
    """
    key = model.digest, effort()
    if key not in _memo:
        _require_finite(model.head, len(model.operators))
        with certifying_arithmetic():
            _memo[key] = _product(model.operators, model.input_shape)
        while len(_memo) > _KEPT:
            _memo.popitem(last=False)
    return _memo[key]


def _require_finite(operator: Operator, index: int) -> None:
    """Offsets and biases do not enter a bound, but a network with NaN in them is no function."""
    for name, value in operator.tensors().items():
        if not bool(torch.isfinite(value).all()):
            raise UnsupportedLayerError(f"layer {index} ({operator.kind}): {name} has NaN or infinite entries")


def _product(operators: tuple[Operator, ...], shape: Shape) -> LipschitzBound:
    layers: list[LayerBound] = []
    shapes: list[Shape] = []
    for index, operator in enumerate(operators):
        _require_finite(operator, index)
        bound = proved_bound(operator, shape)
        layers.append(LayerBound(f"{index:02d} {operator.kind}", bound.value, bound.method))
        shapes.append(shape)
        shape = operator.output_shape(shape)
    value = mul_up(*(layer.value for layer in layers))
    found = merged(operators, shapes)
    together = _merged_product(found, shapes) if None in found else value
    if not math.isfinite(min(value, together)):
        raise UnsupportedLayerError("the product of the layers' Lipschitz bounds overflows; rescale the weights")
    method = _TOGETHER if together < value else _METHOD
    foreign = ", ".join(foreign_operators(operators))
    method = _TRUSTING + foreign if foreign else method
    return LipschitzBound(min(value, together), tuple(layers), method, effort())


def _merged_product(found: Sequence[Merged | None], shapes: Sequence[Shape]) -> float:
    """The product of what is left where scales are in the weights of others."""
    kept = [(layer, shape) for layer, shape in zip(found, shapes, strict=False) if layer is not None]
    return mul_up(*(layer.lipschitz_upper_bound(shape) for layer, shape in kept))
