"""Dense layers: the matrix inside the network and the linear head at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import NormBound, dense_norm_upper_bound
from lip_plugin.bounds.rounding import abs_norm_upper_bound
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import Operator, RoundingTerm, require_tensor
from lip_plugin.network.operators.rounding import affine_rounding, bias_norm_upper_bound
from lip_plugin.types import Shape


@dataclass(frozen=True, eq=False)
class Dense(Operator):
    """y = W x + b on feature vectors. weight (O, D), bias (O,)."""

    kind: ClassVar[str] = "dense"

    weight: Tensor
    bias: Tensor | None = None

    def __post_init__(self) -> None:
        require_tensor(self.weight, "weight", 2)
        if 0 in self.weight.shape:
            raise UnsupportedLayerError(f"weight {tuple(self.weight.shape)} is empty")
        if self.bias is not None:
            require_tensor(self.bias, "bias", 1)
            if self.bias.shape[0] != self.weight.shape[0]:
                raise UnsupportedLayerError(f"bias {tuple(self.bias.shape)} for {self.weight.shape[0]} outputs")

    def apply(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def output_shape(self, input_shape: Shape) -> Shape:
        outputs, inputs = self.weight.shape
        if input_shape != (inputs,):
            raise UnsupportedLayerError(f"{self.kind} expects ({inputs},) features, got shape {input_shape}")
        return (outputs,)

    def lipschitz_upper_bound(self, input_shape: Shape) -> NormBound:
        return dense_norm_upper_bound(self.weight)

    def rounding_term(self, input_shape: Shape, unit: float) -> RoundingTerm:
        """Dot products in any order: |error| <= gamma_{n+1} (|W| |x| + |b|)."""
        outputs, inputs = self.weight.shape
        bias = bias_norm_upper_bound(self.bias)
        return affine_rounding(abs_norm_upper_bound(self.weight), bias, unit, outputs=outputs, fan_in=inputs)


@dataclass(frozen=True, eq=False)
class Head(Dense):
    """The last layer, features (D,) -> logits (K,): treated per pair of classes, never by its norm."""

    kind: ClassVar[str] = "head"
