"""Operators that are affine maps A x + b, and the part A of them: what training estimates the norm of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from lip_plugin.network.operators.base import NormEstimates, Operator
from lip_plugin.types import Shape


class LinearOperator(Operator):
    """An operator x -> A x + b. A depends on its tensors and settings alone."""

    @abstractmethod
    def linear_part(self, x: Tensor) -> Tensor:
        """(B, *input_shape) -> (B, *output_shape): A x, differentiable in x and in the tensors."""

    def lipschitz_estimate(self, input_shape: Shape, norms: NormEstimates) -> Tensor:
        return norms.of(self, input_shape)

    def linear_parts(self, tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """A_1 x_1, ..., A_L x_L of L operators with these settings: x (L, *input_shape) -> (L, *output_shape).

        ``tensors`` are theirs by name, stacked to (L, ...). One after the other unless an operator knows better.
        """
        each = [self.with_tensors({name: value[index] for name, value in tensors.items()}) for index in range(len(x))]
        return torch.cat([operator.linear_part(x[index : index + 1]) for index, operator in enumerate(each)])
