"""The neck of BRONet: patches of the map, then a linear map into features; each by one of several orthogonal kinds."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lip_plugin.errors import ConfigError
from lip_plugin.models.layers.cholesky import cholesky_orthogonal
from lip_plugin.models.layers.minmax import MinMax
from lip_plugin.models.layers.neck import patch_padding
from lip_plugin.models.layers.reflector import half_reflector
from lip_plugin.network import L2Pool

PatchKind: TypeAlias = Literal["cholesky", "bro", "l2"]
LinearKind: TypeAlias = Literal["cholesky", "bro"]

_RIDGE = 1e-5
"""Of the neck's reflectors in the published code; a hundred times that of the other ones."""


def _rows(kind: LinearKind, weight: Tensor) -> Tensor:
    """(out, in), of a parameter (out, in) for "cholesky"; for "bro" the first rows of the reflector of V (in, out)."""
    if kind == "cholesky":
        return cholesky_orthogonal(weight)
    with torch.autocast(weight.device.type, enabled=False):
        u = half_reflector(weight, _RIDGE)
        outputs = u.shape[1]
        return (torch.eye(outputs, len(u), dtype=u.dtype, device=u.device) - u[:outputs] @ u.mT).to(weight.dtype)


def _parameter(kind: LinearKind, outputs: int, inputs: int) -> nn.Parameter:
    if kind == "cholesky":
        return nn.Parameter(nn.init.orthogonal_(torch.empty(outputs, inputs)))
    if inputs <= outputs:
        raise ConfigError(f"a block reflector needs more inputs than outputs, got {inputs} and {outputs}")
    return nn.Parameter(torch.randn(inputs, outputs) / inputs**0.5)


class PatchNeck(nn.Module):
    """(B, W, S, S) -> (B, D): disjoint patches of side ``patch``, flatten, linear with bias, MinMax.

    ``conv``: W -> W channels per patch by an orthogonal kernel of either kind, or "l2", the norm of every channel's
    patch. Zeros around the map let patches tile it.
    """

    def __init__(
        self, width: int, map_size: int, dense_width: int, *, patch: int, conv: PatchKind, linear: LinearKind
    ) -> None:
        super().__init__()
        self.patch = patch
        self.conv: PatchKind = conv
        self.linear: LinearKind = linear
        self.padding = patch_padding(map_size, patch)
        side = (map_size + sum(self.padding)) // patch
        self.kernel: nn.Parameter | None = None
        if conv != "l2":
            self.kernel = _parameter(conv, width, width * patch**2)
        self.weight = _parameter(linear, dense_width, width * side**2)
        self.bias = nn.Parameter(torch.zeros(dense_width))
        self.activation = MinMax()

    def merged_kernel(self) -> Tensor | None:
        """(W, W, patch, patch), where there is one."""
        if self.kernel is None or self.conv == "l2":
            return None
        return rearrange(_rows(self.conv, self.kernel), "o (i kh kw) -> o i kh kw", kh=self.patch, kw=self.patch)

    def merged_weight(self) -> Tensor:
        """(D, W side^2)"""
        return _rows(self.linear, self.weight)

    def forward(self, x: Tensor) -> Tensor:
        kernel, x = self.merged_kernel(), F.pad(x, self.padding * 2)
        x = L2Pool((self.patch, self.patch)).apply(x) if kernel is None else F.conv2d(x, kernel, stride=self.patch)
        return self.activation(F.linear(x.flatten(1), self.merged_weight(), self.bias))
