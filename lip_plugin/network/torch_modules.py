"""Which torch modules are supported, and as which operators."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network.conversion import converts
from lip_plugin.network.operators import (
    Activation,
    AvgPool,
    ChannelShuffle,
    Conv,
    Dense,
    Flatten,
    L2Pool,
    MaxPool,
    Offset,
    Operator,
    PixelShuffle,
    PixelUnshuffle,
    Scale,
)

_Pair = int | tuple[int, ...] | None


def _pair(value: _Pair, default: tuple[int, int] | None = None) -> tuple[int, int]:
    """(vertical, horizontal); one number stands for both, as for torch."""
    if value is None:
        if default is None:
            raise UnsupportedLayerError("a size is missing")
        return default
    sizes = (value,) if isinstance(value, int) else tuple(value)
    if len(sizes) not in (1, 2):
        raise UnsupportedLayerError(f"expected one or two sizes, got {value!r}")
    return int(sizes[0]), int(sizes[-1])


def _copied(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.detach().clone()


def _conv_sides(module: nn.Conv2d) -> tuple[int, int, int, int]:
    """(top, bottom, left, right), from the attribute that the module's forward reads."""
    if module.padding_mode != "zeros":
        # torch keeps the padding per side, innermost dimension first.
        left, right, top, bottom = module._reversed_padding_repeated_twice  # pyright: ignore[reportPrivateUsage]
        return int(top), int(bottom), int(left), int(right)
    if isinstance(module.padding, str):
        extents = module.weight.shape[2:] if module.padding == "same" else (1, 1)
        total_h, total_w = (d * (k - 1) for k, d in zip(extents, _pair(module.dilation), strict=True))
        return total_h // 2, total_h - total_h // 2, total_w // 2, total_w - total_w // 2
    vertical, horizontal = _pair(module.padding)
    return vertical, vertical, horizontal, horizontal


@converts(nn.Conv2d)
def _conv2d(module: nn.Conv2d) -> Sequence[Operator]:
    return [
        Conv(
            module.weight.detach().clone(),
            _copied(module.bias),
            stride=_pair(module.stride),
            padding=_conv_sides(module),
            dilation=_pair(module.dilation),
            groups=module.groups,
            padding_mode=module.padding_mode,
        )
    ]


@converts(nn.Linear)
def _linear(module: nn.Linear) -> Sequence[Operator]:
    return [Dense(module.weight.detach().clone(), _copied(module.bias))]


@converts(nn.BatchNorm2d)
def _batch_norm(module: nn.BatchNorm2d) -> Sequence[Operator]:
    """Evaluation statistics as one scale and one offset per channel."""
    mean, variance = module.running_mean, module.running_var
    if mean is None or variance is None:
        raise UnsupportedLayerError("BatchNorm2d without running statistics depends on the batch")
    # What torch's forward reads; it does not look at `affine`.
    gain = torch.ones_like(mean) if module.weight is None else module.weight.detach()  # pyright: ignore[reportUnnecessaryComparison]
    shift = torch.zeros_like(mean) if module.bias is None else module.bias.detach()  # pyright: ignore[reportUnnecessaryComparison]
    scale = gain.double() / (variance.double() + module.eps).sqrt()
    offset = shift.double() - mean.double() * scale
    return [Scale(scale.to(mean.dtype)), Offset(offset.to(mean.dtype))]


@converts(nn.Identity)
def _identity(module: nn.Identity) -> Sequence[Operator]:
    return []


@converts(nn.Dropout)
def _dropout(module: nn.Dropout) -> Sequence[Operator]:
    return []  # eval mode is required, where dropout is the identity


@converts(nn.Flatten)
def _flatten(module: nn.Flatten) -> Sequence[Operator]:
    if module.start_dim != 1 or module.end_dim != -1:
        raise UnsupportedLayerError(f"Flatten({module.start_dim}, {module.end_dim}); only Flatten(1, -1)")
    return [Flatten()]


@converts(nn.ReLU)
def _relu(module: nn.ReLU) -> Sequence[Operator]:
    return [Activation("relu")]


@converts(nn.LeakyReLU)
def _leaky_relu(module: nn.LeakyReLU) -> Sequence[Operator]:
    return [Activation("leaky_relu", float(module.negative_slope))]


@converts(nn.ELU)
def _elu(module: nn.ELU) -> Sequence[Operator]:
    return [Activation("elu", float(module.alpha))]


@converts(nn.Tanh)
def _tanh(module: nn.Tanh) -> Sequence[Operator]:
    return [Activation("tanh")]


@converts(nn.Sigmoid)
def _sigmoid(module: nn.Sigmoid) -> Sequence[Operator]:
    return [Activation("sigmoid")]


@converts(nn.AvgPool2d)
def _avg_pool(module: nn.AvgPool2d) -> Sequence[Operator]:
    kernel, padding = _pair(module.kernel_size), _pair(module.padding)
    if module.ceil_mode or module.divisor_override is not None:
        raise UnsupportedLayerError("AvgPool2d with ceil_mode or divisor_override can exceed norm 1; not supported")
    if not module.count_include_pad and padding != (0, 0):
        raise UnsupportedLayerError("AvgPool2d with count_include_pad=False and padding can exceed norm 1")
    return [AvgPool(kernel, _pair(module.stride, kernel), padding)]


@converts(nn.MaxPool2d)
def _max_pool(module: nn.MaxPool2d) -> Sequence[Operator]:
    kernel = _pair(module.kernel_size)
    if module.ceil_mode or module.return_indices:
        raise UnsupportedLayerError("MaxPool2d with ceil_mode or return_indices is not supported")
    return [MaxPool(kernel, _pair(module.stride, kernel), _pair(module.padding), _pair(module.dilation))]


@converts(nn.LPPool2d)
def _lp_pool(module: nn.LPPool2d) -> Sequence[Operator]:
    kernel = _pair(module.kernel_size)
    if float(module.norm_type) != 2.0 or module.ceil_mode or _pair(module.stride, kernel) != kernel:
        raise UnsupportedLayerError("LPPool2d is 1-Lipschitz only for norm 2, stride = kernel and no ceil_mode")
    return [L2Pool(kernel)]


@converts(nn.PixelUnshuffle)
def _pixel_unshuffle(module: nn.PixelUnshuffle) -> Sequence[Operator]:
    return [PixelUnshuffle(module.downscale_factor)]


@converts(nn.PixelShuffle)
def _pixel_shuffle(module: nn.PixelShuffle) -> Sequence[Operator]:
    return [PixelShuffle(module.upscale_factor)]


@converts(nn.ChannelShuffle)
def _channel_shuffle(module: nn.ChannelShuffle) -> Sequence[Operator]:
    return [ChannelShuffle(module.groups)]
