"""Explicit matrices and their norms by SVD: what bounds and estimates are compared with."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lip_plugin.network import CertifiedClassifier, LinearOperator, Operator
from lip_plugin.types import Shape


def largest_singular_value(operator: Operator, at: Tensor) -> float:
    """Of an operator's Jacobian at one input (*input_shape), float64."""
    return _jacobian_norm(operator.apply, at)


def network_jacobian_norm(network: CertifiedClassifier, at: Tensor) -> float:
    """Of the Jacobian of the map into features at one image (C, H, W), float64."""
    return _jacobian_norm(network.features, at)


def linear_matrix(operator: LinearOperator, input_shape: Shape) -> Tensor:
    """(outputs, inputs) float64: the images of the unit vectors under an operator's linear part."""
    wide = operator.map_tensors(lambda value: value.detach().double())
    size = math.prod(input_shape)
    units = torch.eye(size, dtype=torch.float64).view(size, *input_shape)
    return wide.linear_part(units).flatten(1).mT


def _jacobian_norm(function: Callable[[Tensor], Tensor], at: Tensor) -> float:
    jacobian = torch.autograd.functional.jacobian(lambda one: function(one[None])[0], at)
    assert isinstance(jacobian, Tensor)
    return float(torch.linalg.matrix_norm(jacobian.reshape(-1, at.numel()), 2))
