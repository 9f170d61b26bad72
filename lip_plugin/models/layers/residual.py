"""Stacks of linear residual blocks: y = (I + scale * gamma K) x + b, one linear map each, then MinMax."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip_plugin.errors import ConfigError
from lip_plugin.models.layers.centering import centred_conv
from lip_plugin.models.layers.cholesky import cholesky_orthogonal
from lip_plugin.models.layers.minmax import MinMax

_KERNEL = 3
_MEAN_MOMENTUM = 0.1


class ResidualConvStack(nn.Module):
    """L linear residual 3x3 convolutions of W channels, each followed by MinMax.

    W_eff = I + L^{-1/2} diag(gamma) K is merged before use: one convolution per block. With
    ``centering`` the residual branch's channel mean over the batch is subtracted in training and its
    running mean (momentum 0.1) in evaluation: a constant shift, Lipschitz 1.
    Source: Hu et al., NeurIPS 2023 section 3 and ICLR 2024.
    """

    running_mean: Tensor

    def __init__(self, depth: int, width: int, *, centering: bool) -> None:
        super().__init__()
        if depth < 1:
            raise ConfigError(f"depth must be at least 1 residual block, got {depth}")
        self.depth, self.width, self.centering = depth, width, centering
        self.weights = nn.Parameter(torch.randn(depth, width, width, _KERNEL, _KERNEL) / (9 * width))
        self.gamma = nn.Parameter(torch.ones(depth, width, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(depth, width))
        self.register_buffer("running_mean", torch.zeros(depth, width))
        self.activation = MinMax()

    def merged_weights(self) -> Tensor:
        """(L, W, W, 3, 3): the kernels that act, identity included."""
        identity = torch.zeros_like(self.weights[0])
        centre = _KERNEL // 2
        identity[:, :, centre, centre] = torch.eye(self.width, dtype=identity.dtype, device=identity.device)
        return identity + self.depth**-0.5 * self.gamma * self.weights

    def merged_bias(self) -> Tensor:
        """(L, W): the evaluation bias, with centering the running mean folded in."""
        return self.bias - self.running_mean if self.centering else self.bias

    def forward(self, x: Tensor) -> Tensor:
        weights = self.merged_weights()
        for block, weight in enumerate(weights):
            if self.centering and self.training:
                out, mean = centred_conv(x, weight, self.bias[block])
                with torch.no_grad():
                    self.running_mean[block].lerp_(mean.to(self.running_mean.dtype), _MEAN_MOMENTUM)
            else:
                out = F.conv2d(x, weight, padding=_KERNEL // 2) + self.merged_bias()[block][:, None, None]
            x = self.activation(out)
        return x


class OrthogonalDenseStack(nn.Module):
    """n Cholesky-orthogonal residual dense layers D -> D, each followed by MinMax ("CHORD").

    X = I + n^{-1/2} diag(gamma) V, W = C^{-1} X, all n orthogonalised in one batch.
    """

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.depth, self.width = depth, width
        self.weights = nn.Parameter(torch.randn(depth, width, width) / max(width, 1))
        self.gamma = nn.Parameter(torch.ones(depth, width, 1))
        self.bias = nn.Parameter(torch.zeros(depth, width))
        self.activation = MinMax()

    def merged_weights(self) -> Tensor:
        """(n, D, D), rows orthonormal up to a contraction."""
        identity = torch.eye(self.width, dtype=self.weights.dtype, device=self.weights.device)
        return cholesky_orthogonal(identity + self.depth**-0.5 * self.gamma * self.weights)

    def forward(self, x: Tensor) -> Tensor:
        if self.depth == 0:
            return x
        for weight, bias in zip(self.merged_weights(), self.bias, strict=True):
            x = self.activation(F.linear(x, weight, bias))
        return x
