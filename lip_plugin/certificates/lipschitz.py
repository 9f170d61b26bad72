"""Lipschitz upper bounds of a whole network, composed from its operators and outward-rounded."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lip_plugin.bounds import row_distance_upper_bound
from lip_plugin.bounds.rounding import mul_up
from lip_plugin.errors import ConfigError
from lip_plugin.network import CertifiedClassifier, Operator, convert
from lip_plugin.types import ImageShape, Shape


@dataclass(frozen=True)
class LayerBound:
    """The proved constant of one operator: ``name`` is its position and kind."""

    name: str
    value: float
    method: str


@dataclass(frozen=True)
class LipschitzBound:
    """value >= the L2 Lipschitz constant; the outward-rounded product of ``layers``."""

    value: float
    layers: tuple[LayerBound, ...]
    method: str


_METHOD = "product of verified operator norms"
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
        return _classifier_bound(model_or_module)
    if input_shape is None:
        raise ConfigError("input_shape is missing; a torch module is bounded for one input shape (C, H, W)")
    return _product(convert(model_or_module, type(model_or_module).__name__), tuple(input_shape))


def pair_lipschitz_upper_bound(model: CertifiedClassifier) -> Tensor:
    """(K, K) float64 on the CPU, entry [i, j] >= Lip(f_i - f_j); the diagonal is 0."""
    return pair_bound(model, lipschitz_upper_bound(model).value)


def pair_bound(model: CertifiedClassifier, feature_bound: float) -> Tensor:
    """Feature constant times direct head-row distances, rounded up."""
    product = row_distance_upper_bound(model.head_weight) * feature_bound
    return torch.where(product > 0, torch.nextafter(product, torch.full_like(product, torch.inf)), product)


def _classifier_bound(model: CertifiedClassifier) -> LipschitzBound:
    """Remembered by digest: the digest is recomputed from the weights, so a changed network never hits."""
    digest = model.digest
    if digest not in _memo:
        _memo[digest] = _product(model.operators, model.input_shape)
        while len(_memo) > _KEPT:
            _memo.popitem(last=False)
    return _memo[digest]


def _product(operators: tuple[Operator, ...], shape: Shape) -> LipschitzBound:
    layers: list[LayerBound] = []
    for index, operator in enumerate(operators):
        bound = operator.lipschitz_upper_bound(shape)
        layers.append(LayerBound(f"{index:02d} {operator.kind}", bound.value, bound.method))
        shape = operator.output_shape(shape)
    return LipschitzBound(mul_up(*(layer.value for layer in layers)), tuple(layers), _METHOD)
