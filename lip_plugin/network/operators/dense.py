"""Dense layers: the matrix inside the network and the linear head at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import NormBound, dense_norm_upper_bound
from lip_plugin.bounds.rounding import abs_norm_upper_bound
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.operators.base import Rounding, RoundingAt, RoundingTerm, Windows, require_tensor
from lip_plugin.network.operators.linear import LinearOperator
from lip_plugin.network.operators.plain_layer import PlainLayer, changed, weight_keywords
from lip_plugin.network.operators.rounding import affine_rounding, bias_norm_upper_bound
from lip_plugin.network.operators.sums import PartialSums, added, magnitude, part_size, plain_sums
from lip_plugin.types import Shape

_LONGEST_SUM = 128
"""Products that float32 adds up at a time."""
_PER_PAIR = 2**10  # products that take as long as the matrices of pairs, for every pair


@dataclass(frozen=True, eq=False)
class Dense(LinearOperator):
    """y = W x + b on feature vectors. weight (O, D), bias (O,).

    In float32 the products are added up in parts, whose sums are added: see `operators.sums`.
    """

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
        if self.parts == 1:
            return F.linear(x, self.weight, self.bias)
        total = added(self._products(x))
        return total if self.bias is None else total + self.bias

    def linear_part(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)

    def linear_parts(self, tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return torch.einsum("loi,li->lo", tensors["weight"], x)

    @property
    def part_size(self) -> int:
        """How many inputs float32 adds up at a time; all of them in float64."""
        inputs = self.weight.shape[1]
        return part_size(inputs, 1, _LONGEST_SUM) if self.weight.dtype == torch.float32 else inputs

    @property
    def parts(self) -> int:
        return -(-self.weight.shape[1] // self.part_size)

    def _products(self, x: Tensor) -> Iterator[Tensor]:
        """(B, O) of every part."""
        return map(F.linear, x.split(self.part_size, 1), self.weight.split(self.part_size, 1))

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

    def float32_rounding(self, input_shape: Shape) -> Rounding:
        """By |W| |x| + |b| as it is at x (see `operators.sums`)."""
        absolute_norm = abs_norm_upper_bound(self.weight)
        sums = PartialSums(self.part_size, self.parts, absolute_norm)
        absolute_weight = magnitude(self.weight)
        bias = None if self.bias is None else magnitude(self.bias)

        def rounding(x: Tensor, y: Tensor, norm: Tensor) -> RoundingAt:
            partial = None if self.parts == 1 else added(map(torch.abs, self._products(x.float())))
            return sums.rounding(F.linear(magnitude(x), absolute_weight), partial, y, bias)

        return rounding

    def windows(self, input_shape: Shape) -> tuple[Windows, ...]:
        return ()

    def work(self, input_shape: Shape) -> int:
        return self.weight.numel()

    def proof_work(self, input_shape: Shape) -> int:
        return self.weight.numel() * min(self.weight.shape)

    def plain_layer(self, input_shape: Shape) -> PlainLayer:
        outputs, inputs = self.weight.shape
        arguments = [str(inputs), str(outputs), *changed(weight_keywords(self.weight, self.bias))]
        code, helpers = plain_sums(self.parts, self.part_size)
        return PlainLayer(code, self.kind, f"nn.Linear({', '.join(arguments)})", helpers=helpers)

    def describe(self) -> str:
        outputs, inputs = self.weight.shape
        return f"dense layer, {inputs} to {outputs} features"


@dataclass(frozen=True, eq=False)
class Head(Dense):
    """The last layer, features (D,) -> logits (K,): treated per pair of classes, never by its norm."""

    kind: ClassVar[str] = "head"

    def proof_work(self, input_shape: Shape) -> int:
        """Every pair of classes is compared, and matrices of all pairs are written."""
        return self.weight.shape[0] ** 2 * (self.weight.shape[1] + _PER_PAIR)

    def describe(self) -> str:
        classes, inputs = self.weight.shape
        return f"linear head, {inputs} features to {classes} classes"
