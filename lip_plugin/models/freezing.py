"""How the shared layers turn into plain operators with merged weights."""

from __future__ import annotations

import torch
from torch import Tensor

from lip_plugin.models.layers.neck import OrthogonalNeck
from lip_plugin.models.layers.residual import OrthogonalDenseStack, ResidualConvStack
from lip_plugin.models.layers.stem import Stem
from lip_plugin.network import Conv, Dense, Flatten, MinMax, Offset, Operator


def frozen(value: Tensor) -> Tensor:
    """A detached copy that shares nothing with the parameters."""
    return value.detach().clone()


def frozen_bias(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else frozen(bias)


def freeze_stem(stem: Stem) -> tuple[Operator, ...]:
    conv, geometry = stem.conv, stem.geometry
    offset = torch.tensor(stem.offset, dtype=conv.weight.dtype, device=conv.weight.device)
    return (
        Offset(offset),
        Conv(
            frozen(conv.weight),
            frozen_bias(conv.bias),
            stride=(geometry.stride, geometry.stride),
            padding=(geometry.padding, geometry.padding, geometry.padding, geometry.padding),
        ),
        MinMax(),
    )


def freeze_conv_stack(stack: ResidualConvStack) -> tuple[Operator, ...]:
    """One convolution per block: identity, scale and centering merged into its weight and bias."""
    layers: list[Operator] = []
    for weight, bias in zip(stack.merged_weights(), stack.merged_bias(), strict=True):
        layers += [Conv(frozen(weight), frozen(bias), padding=(1, 1, 1, 1)), MinMax()]
    return tuple(layers)


def freeze_orthogonal_neck(neck: OrthogonalNeck) -> tuple[Operator, ...]:
    return (
        Conv(frozen(neck.merged_kernel()), stride=(neck.patch, neck.patch), padding=(*neck.padding, *neck.padding)),
        Flatten(),
        Dense(frozen(neck.merged_weight()), frozen(neck.bias)),
        MinMax(),
    )


def freeze_dense_stack(stack: OrthogonalDenseStack) -> tuple[Operator, ...]:
    if stack.depth == 0:
        return ()
    layers: list[Operator] = []
    for weight, bias in zip(stack.merged_weights(), stack.bias, strict=True):
        layers += [Dense(frozen(weight), frozen(bias)), MinMax()]
    return tuple(layers)
