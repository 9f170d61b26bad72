"""Lipschitz upper bounds of a whole network, composed from its operators and outward-rounded."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lip_plugin.bounds import row_distance_upper_bound
from lip_plugin.bounds.rounding import mul_up
from lip_plugin.certificates.arithmetic import certifying_arithmetic
from lip_plugin.errors import ConfigError, UnsupportedLayerError
from lip_plugin.network import CertifiedClassifier, Operator, convert, require_unaltered
from lip_plugin.network.kinds import foreign_operators
from lip_plugin.types import ImageShape, Shape


@dataclass(frozen=True)
class LayerBound:
    """The proved constant of one operator: ``name`` is its position and kind."""

    name: str
    value: float
    method: str


@dataclass(frozen=True)
class LipschitzBound:
    """value >= the L2 Lipschitz constant; the outward-rounded product of ``layers``.

    ``method`` names the operators of other packages, whose bounds are trusted.
    """

    value: float
    layers: tuple[LayerBound, ...]
    method: str


_METHOD = "product of verified operator norms"
_TRUSTING = "product of operator norms; not proved here but trusted: those of "
_KEPT = 16
_memo: OrderedDict[str, LipschitzBound] = OrderedDict()


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
    if input_shape is None:
        raise ConfigError("input_shape is missing; a torch module is bounded for one input shape (C, H, W)")
    operators = convert(model_or_module, type(model_or_module).__name__)
    with certifying_arithmetic():
        return _product(operators, tuple(input_shape))


def pair_lipschitz_upper_bound(model: CertifiedClassifier) -> Tensor:
    """(K, K) float64 on the CPU, entry [i, j] >= Lip(f_i - f_j); the diagonal is 0."""
    return pair_bound(model, lipschitz_upper_bound(model).value)


def pair_bound(model: CertifiedClassifier, feature_bound: float) -> Tensor:
    """Feature constant times direct head-row distances, rounded up."""
    distance = row_distance_upper_bound(model.head_weight)
    above = torch.nextafter(distance * feature_bound, torch.full_like(distance, torch.inf))
    # 0 only where the rows are identical or the features constant; elsewhere even an underflow stays positive.
    return torch.where((distance > 0) & (feature_bound > 0), above, torch.zeros_like(above))


def settled_bound(model: CertifiedClassifier) -> LipschitzBound:
    """`lipschitz_upper_bound` of a network into which nothing else writes: a private copy.

    Remembered by digest: the digest is recomputed from the weights, so a changed network never hits.
    """
    digest = model.digest
    if digest not in _memo:
        _require_finite(model.head, len(model.operators))
        with certifying_arithmetic():
            _memo[digest] = _product(model.operators, model.input_shape)
        while len(_memo) > _KEPT:
            _memo.popitem(last=False)
    return _memo[digest]


def _require_finite(operator: Operator, index: int) -> None:
    """Offsets and biases do not enter a bound, but a network with NaN in them is no function."""
    for name, value in operator.tensors().items():
        if not bool(torch.isfinite(value).all()):
            raise UnsupportedLayerError(f"layer {index} ({operator.kind}): {name} has NaN or infinite entries")


def _product(operators: tuple[Operator, ...], shape: Shape) -> LipschitzBound:
    layers: list[LayerBound] = []
    for index, operator in enumerate(operators):
        _require_finite(operator, index)
        bound = operator.lipschitz_upper_bound(shape)
        layers.append(LayerBound(f"{index:02d} {operator.kind}", bound.value, bound.method))
        shape = operator.output_shape(shape)
    value = mul_up(*(layer.value for layer in layers))
    if not math.isfinite(value):
        raise UnsupportedLayerError("the product of the layers' Lipschitz bounds overflows; rescale the weights")
    foreign = ", ".join(foreign_operators(operators))
    return LipschitzBound(value, tuple(layers), _TRUSTING + foreign if foreign else _METHOD)
