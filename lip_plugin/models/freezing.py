"""How the shared layers turn into plain operators with merged weights; gradient flows to the parameters."""

from __future__ import annotations

from lip_plugin.models.layers.neck import OrthogonalNeck
from lip_plugin.models.layers.patch_neck import PatchNeck
from lip_plugin.models.layers.reflector import ReflectorConvStack, ReflectorDenseStack
from lip_plugin.models.layers.residual import OrthogonalDenseStack, ResidualConvStack
from lip_plugin.network import Conv, Dense, Flatten, FrequencyConv, L2Pool, MinMax, Offset, Operator, Pad


def freeze_conv_stack(stack: ResidualConvStack) -> tuple[Operator, ...]:
    """One convolution per block: identity, scale and centering merged into its weight and bias."""
    layers: list[Operator] = []
    for weight, bias in zip(stack.merged_weights(), stack.merged_bias(), strict=True):
        layers += [Conv(weight, bias, padding=(1, 1, 1, 1)), MinMax()]
    return tuple(layers)


def freeze_orthogonal_neck(neck: OrthogonalNeck) -> tuple[Operator, ...]:
    return (
        Conv(neck.merged_kernel(), stride=(neck.patch, neck.patch), padding=(*neck.padding, *neck.padding)),
        Flatten(),
        Dense(neck.merged_weight(), neck.bias),
        MinMax(),
    )


def freeze_dense_stack(stack: OrthogonalDenseStack | ReflectorDenseStack) -> tuple[Operator, ...]:
    if stack.depth == 0:
        return ()
    layers: list[Operator] = []
    for weight, bias in zip(stack.merged_weights(), stack.bias, strict=True):
        layers += [Dense(weight, bias), MinMax()]
    return tuple(layers)


def freeze_reflector_convs(stack: ReflectorConvStack) -> tuple[Operator, ...]:
    """One convolution by frequency per block; bias and centering after it."""
    layers: list[Operator] = []
    for factor, bias in zip(stack.merged_factors(), stack.merged_bias(), strict=True):
        layers += [FrequencyConv(factor, stack.border, stack.crop), Offset(bias), MinMax()]
    return tuple(layers)


def freeze_patch_neck(neck: PatchNeck) -> tuple[Operator, ...]:
    kernel, padding, sides = neck.merged_kernel(), (*neck.padding, *neck.padding), (neck.patch, neck.patch)
    padded: tuple[Operator, ...] = (Pad(padding),) if any(padding) else ()
    pool = (*padded, L2Pool(sides)) if kernel is None else (Conv(kernel, stride=sides, padding=padding),)
    return (*pool, Flatten(), Dense(neck.merged_weight(), neck.bias), MinMax())
