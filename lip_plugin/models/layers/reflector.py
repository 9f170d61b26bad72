"""Block reflectors: W = I - 2 V (V^H V + ridge I)^{-1} V^H, orthogonal but for the ridge, as matrices and convolutions.

Source: Lai, Huang, Kung, Chen, Enhancing certified robustness via block reflector orthogonal layers and logit
annealing loss, ICML 2025 (arXiv 2505.15174), section 4, and their code for what the paper leaves open: the ridge, that
the mean over the batch that centering subtracts is that of the whole output, and V = I + L^{-1/2} gamma K.

The ridge is so small that float32 would lose it: all of this is computed in float64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lip_plugin.errors import ConfigError
from lip_plugin.models.layers.centering import shared_mean
from lip_plugin.models.layers.minmax import MinMax
from lip_plugin.network.operators.frequency_conv import reflected

RIDGE = 1e-7
"""Of the mean of the diagonal of V^H V."""
_KERNEL = 3
_MEAN_MOMENTUM = 0.1


def rank_of(width: int, ratio: float) -> int:
    """Columns of V: the share ``ratio`` of the width, at least 1 and below the width, where W would be -I."""
    return min(max(int(width * ratio), 1), width - 1)


def half_reflector(v: Tensor, ridge: float = RIDGE) -> Tensor:
    """U (..., C, r) with W = I - U U^H, for V (..., C, r) real or complex: U = sqrt(2) V L^{-H}, L L^H = V^H V + ridge.

    Differentiable. ||U||^2 = 2 s / (s + ridge) < 2 in exact arithmetic, s the largest eigenvalue of V^H V.
    """
    v = v.to(torch.complex128 if v.is_complex() else torch.float64)
    gram = v.mH @ v
    shift = ridge * gram.diagonal(dim1=-2, dim2=-1).real.mean(-1)
    factor = torch.linalg.cholesky(
        gram + shift[..., None, None] * torch.eye(v.shape[-1], dtype=v.dtype, device=v.device)
    )
    return 2.0**0.5 * torch.linalg.solve_triangular(factor, v.mH, upper=False).mH


def reflector(v: Tensor, ridge: float = RIDGE) -> Tensor:
    """V (..., C, r) real -> W (..., C, C) in the dtype of V."""
    with torch.autocast(v.device.type, enabled=False):
        u = half_reflector(v, ridge)
        return (torch.eye(v.shape[-2], dtype=u.dtype, device=u.device) - u @ u.mT).to(v.dtype)


def _near_identity(weights: Tensor, gamma: Tensor) -> Tensor:
    """I + L^{-1/2} gamma K of stacks (L, C, r, ...), I the first r columns of the identity, at the kernel's centre."""
    identity = torch.zeros_like(weights[0])
    centre = identity[:, :, _KERNEL // 2, _KERNEL // 2] if identity.dim() == 4 else identity
    centre.fill_diagonal_(1.0)
    return identity + len(weights) ** -0.5 * gamma * weights


class ReflectorDenseStack(nn.Module):
    """n block reflectors D -> D of this rank, each followed by MinMax."""

    def __init__(self, depth: int, width: int, rank: int) -> None:
        super().__init__()
        self.depth, self.width = depth, width
        self.weights = nn.Parameter(torch.randn(depth, width, rank) / width)
        self.gamma = nn.Parameter(torch.ones(depth, width, 1))
        self.bias = nn.Parameter(torch.zeros(depth, width))
        self.activation = MinMax()

    def merged_weights(self) -> Tensor:
        """(n, D, D)"""
        return reflector(_near_identity(self.weights, self.gamma))

    def forward(self, x: Tensor) -> Tensor:
        if self.depth == 0:
            return x
        for weight, bias in zip(self.merged_weights(), self.bias, strict=True):
            x = self.activation(F.linear(x, weight, bias))
        return x


class ReflectorConvStack(nn.Module):
    """L circular convolutions of W channels by block reflectors of this rank, centred, each followed by MinMax.

    A map is zero-padded by one pixel; of the result the border is cut off again, or, with ``grows``, kept, so that each
    convolution makes the map larger by two.
    """

    running_mean: Tensor

    def __init__(self, depth: int, width: int, rank: int, map_size: int, *, grows: bool) -> None:
        super().__init__()
        if depth < 1:
            raise ConfigError(f"depth must be at least 1 convolution, got {depth}")
        self.depth, self.width, self.map_size, self.grows = depth, width, map_size, grows
        self.weights = nn.Parameter(torch.randn(depth, width, rank, _KERNEL, _KERNEL) / (9 * width))
        self.gamma = nn.Parameter(torch.ones(depth, width, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(depth, width))
        self.register_buffer("running_mean", torch.zeros(depth, width))
        self.activation = MinMax()

    border = (1, 1, 1, 1)
    """What is padded, (top, bottom, left, right): half of a kernel."""

    @property
    def crop(self) -> tuple[int, int, int, int]:
        return (0, 0, 0, 0) if self.grows else self.border

    @property
    def output_size(self) -> int:
        """Side of the map that leaves the stack."""
        return self.map_size + 2 * self.depth * self.grows

    def merged_factors(self) -> list[Tensor]:
        """(N, N // 2 + 1, 2 W, r) of every convolution, N the side of its padded map: see `FrequencyConv`."""
        size, factors = self.map_size, list[Tensor]()
        for v in _near_identity(self.weights, self.gamma):
            padded = size + 2
            factors.append(self._factor(v, padded))
            size = padded if self.grows else size
        return factors

    def _factor(self, v: Tensor, side: int) -> Tensor:
        """The published growing variant correlates, the other one convolves; shifted taps give the same reflector."""
        with torch.autocast(v.device.type, enabled=False):
            spectrum = torch.fft.rfft2(v.double(), (side, side)).permute(2, 3, 0, 1)
            u = half_reflector(spectrum.conj() if self.grows else spectrum)
            return torch.cat([u.real, u.imag], 2).to(v.dtype)

    def merged_bias(self) -> Tensor:
        """(L, W): the bias in evaluation."""
        return self.bias - self.running_mean

    def forward(self, x: Tensor) -> Tensor:
        top, bottom, left, right = self.crop
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.bias.dtype)
            for block, factor in enumerate(self.merged_factors()):
                x = reflected(F.pad(x, self.border), factor)
                x = x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]
                x = self.activation(x + self._shift(block, x)[:, None, None])
        return x

    def _shift(self, block: int, x: Tensor) -> Tensor:
        """(W,): in training the bias less the mean of x over batch and map, which gradient flows through."""
        if not self.training:
            return self.merged_bias()[block]
        mean = shared_mean(x.mean((0, 2, 3)))
        with torch.no_grad():
            self.running_mean[block].lerp_(mean, _MEAN_MOMENTUM)
        return self.bias[block] - mean
