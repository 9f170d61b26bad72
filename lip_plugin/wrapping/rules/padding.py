"""Padding, and upsampling to the nearest pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import Pad, Repeat
from lip_plugin.wrapping.registry import rule
from lip_plugin.wrapping.rules.one_axis import on_rows
from lip_plugin.wrapping.traced import Traced

_MODES = {"constant": "zeros", "circular": "circular", "reflect": "reflect", "replicate": "replicate"}


@rule("pad", torch.constant_pad_nd)
def _pad(input: Traced, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Traced:
    if mode == "constant" and value not in (None, 0, 0.0):
        raise UnsupportedLayerError(f"pads with {value}; only padding by zeros is bounded: shift the image before it")
    sizes = [int(size) for size in pad] + [0] * (4 - len(pad))
    if len(sizes) > 4 and any(sizes[4:]):
        raise UnsupportedLayerError(
            f"pads channels ({sizes}); only the sides of a map are padded, use a 1x1 convolution"
        )
    if len(input.features) == 2:  # a row
        if any(sizes[2:]):
            raise UnsupportedLayerError(f"pads channels ({sizes}); only the ends of a row are padded")
        return on_rows(input, lambda rows: _pad(rows, sizes[:2], mode, value), "padding")
    left, right, top, bottom = sizes[:4]
    height, width = (*input.features[1:], 0, 0)[:2]
    if min(left, right, top, bottom) < 0:  # torch crops
        cut = input.positions()[..., max(0, -top) : height - max(0, -bottom), max(0, -left) : width - max(0, -right)]
        input = input.moved(cut)
        left, right, top, bottom = (max(0, size) for size in (left, right, top, bottom))
    return input.then(Pad((top, bottom, left, right), _MODES[mode])) if left + right + top + bottom else input


@rule("interpolate", "upsample", "upsample_nearest")
def _interpolate(
    input: Traced, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **settings: Any
) -> Traced:
    shape = input.features
    if len(shape) == 2 and mode in ("nearest", "nearest-exact"):
        sizes = [
            one if one is None else (1, one[0] if isinstance(one, tuple | list) else one)
            for one in (size, scale_factor)
        ]
        return on_rows(input, lambda rows: _interpolate(rows, *sizes, mode=mode), "Upsample")
    if mode not in ("nearest", "nearest-exact") or len(shape) != 3:
        raise UnsupportedLayerError(
            f"upsamples by {mode!r}; only 'nearest' with whole factors is bounded: use it, or nn.ConvTranspose2d"
        )
    wanted = size if size is not None else scale_factor
    numbers = [float(value) for value in (wanted if isinstance(wanted, tuple | list) else (wanted, wanted))]
    factors = [value / old if size is not None else value for value, old in zip(numbers, shape[1:], strict=True)]
    if any(factor != int(factor) or factor < 1 for factor in factors):
        raise UnsupportedLayerError(f"resizes {shape} by {factors}; only whole factors are bounded")
    return input.then(Repeat((int(factors[0]), int(factors[1]))))
