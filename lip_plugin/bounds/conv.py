"""Proved bounds of a convolution's operator norm, for every stride, padding, dilation and number of groups.

The operator is the linear map x (I, H, W) -> y (O, Ho, Wo) of ``F.conv2d(F.pad(x, padding, mode), weight)``. Groups
make it block diagonal, so its norm is the largest of its groups'; they travel as a batch dimension here. Three rules,
from exact to general: windows that do not overlap, the explicit matrix of a small layer, and the symbol of a circulant
that contains the layer (soundness notes, sections 3, 6 and 7), refined along one axis where that pays, and by the
block-banded operator where a tight bound is asked for.

Comment letters: G groups, O output and I input channels of a group, H W map, Y X outputs, kh kw taps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from lip_plugin.bounds.banded import BANDED_WORK, banded_norm_upper_bound
from lip_plugin.bounds.bound import NormBound
from lip_plugin.bounds.effort import effort
from lip_plugin.bounds.geometry import Axis, circular_grid, zero_padded_grid
from lip_plugin.bounds.half_circulant import zero_padded_norm_upper_bound
from lip_plugin.bounds.rounding import (
    UNDERFLOW,
    add_up,
    exact_float64,
    frobenius_upper_bound,
    gamma,
    ldexp_up,
    mul_up,
    require_ieee_arithmetic,
    sqrt_up,
    times_power_of_two,
    unit_scaled,
)
from lip_plugin.bounds.selection import selection
from lip_plugin.bounds.symbol import circulant_norm_upper_bound
from lip_plugin.bounds.verified import spectral_norm_upper_bound, spectral_norm_work
from lip_plugin.errors import UnsupportedLayerError

_MODES = ("zeros", "circular", "reflect", "replicate")
_EXPLICIT_SIDE = 1024  # smaller side of an explicit matrix
_EXPLICIT_ENTRIES = 2**24  # entries of all groups' explicit matrices: 128 MB
_EXPLICIT_WORK = {"quick": 2**30, "tight": 2**35}  # products; eigenvalues take as long as 8 times those of a square
_PER_TAP = 2**9  # products that take as long as looking up a twiddle


@dataclass(frozen=True)
class _Layer:
    """A checked layer: weight (G, O, I, kh, kw) in float64 with entries of at most 1, times 2**exponent.

    ``exact`` is False where scaling down moved an entry that lies more than 300 decades below the largest.
    """

    weight: Tensor
    exponent: int
    exact: bool
    height: Axis
    width: Axis
    mode: str
    """Of the padding: "zeros", also where there is none, "circular", "reflect" or "replicate"."""

    def bound(self, scaled: float, method: str) -> NormBound:
        """Undo the scaling. UNDERFLOW a weight covers what scaling and products lost below 2**-1022."""
        lost = 0.0 if scaled == 0.0 and self.exact else mul_up(float(self.weight.numel()), UNDERFLOW)
        return NormBound(ldexp_up(add_up(scaled, lost), self.exponent), method)


def conv_norm_upper_bound(
    weight: Tensor,
    *,
    input_size: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    padding_mode: str = "zeros",
) -> NormBound:
    """Upper bound of the operator norm of a convolution, by the first rule that fits.

    Args:
        weight: (O, I / groups, kh, kw).
        input_size: (H, W) of the map before padding.
        stride, dilation: (vertical, horizontal).
        padding: (top, bottom, left, right), each >= 0; circular padding at most the map's size, "reflect" below it.
        padding_mode: "zeros", "circular", "reflect" or "replicate".

    Raises:
        UnsupportedLayerError: non-finite weights, another padding mode, or a geometry that torch refuses as well.
    """
    layer = _checked_layer(weight, input_size, stride, padding, dilation, groups, padding_mode)
    if not bool(layer.weight.any()):
        return NormBound(0.0, "zero weight")
    if _windows_are_disjoint(layer):
        return _disjoint_windows_bound(layer)
    if _explicit_is_affordable(layer):
        return _explicit_bound(layer)
    tight = _tight_bound(layer) if effort() == "tight" and layer.mode == "zeros" else None
    return _general_bound(layer) if tight is None else tight


def conv_norm_work(
    weight: Tensor,
    *,
    input_size: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    padding_mode: str = "zeros",
) -> int:
    """Products of `conv_norm_upper_bound` by the rule that it takes, roughly, from shapes alone; its arguments.

    What refines a quick bound is left out: less than the symbols that it starts from.
    """
    height, width = _axes(weight, input_size, stride, padding, dilation)
    mode = padding_mode if max(padding) > 0 else "zeros"
    layer = _Layer(weight.unflatten(0, (groups, -1)), 0, True, height, width, mode)
    _, rows, columns, *kernel = layer.weight.shape
    taps, outputs = math.prod(kernel), (height.outputs, width.outputs)
    if _windows_are_disjoint(layer):
        return groups * spectral_norm_work(rows, columns * taps)
    if _explicit_is_affordable(layer):
        return groups * spectral_norm_work(rows * math.prod(outputs), columns * math.prod(input_size))
    frequency = groups * (rows * columns * taps + spectral_norm_work(rows, columns)) + _PER_TAP * taps
    strips = min(outputs[0] * (rows * outputs[1]) ** 3, input_size[0] * (columns * input_size[1]) ** 3)
    banded = strips * kernel[0] * (kernel[0] + 1) * groups
    frequencies = math.prod(axis.size + axis.before + axis.after for axis in (height, width))
    tight = effort() == "tight" and banded < 2 * BANDED_WORK
    return frequencies * frequency + (min(banded, BANDED_WORK) if tight else 0)


def general_conv_norm_upper_bound(
    weight: Tensor,
    *,
    input_size: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    padding_mode: str = "zeros",
) -> NormBound:
    """Upper bound by the general rule alone: the symbol of a circulant. Arguments as ``conv_norm_upper_bound``."""
    return _general_bound(_checked_layer(weight, input_size, stride, padding, dilation, groups, padding_mode))


def _checked_layer(
    weight: Tensor,
    input_size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    groups: int,
    padding_mode: str,
) -> _Layer:
    require_ieee_arithmetic()
    if padding_mode not in _MODES:
        raise UnsupportedLayerError(f"padding_mode must be one of {', '.join(_MODES)}, got {padding_mode!r}")
    if weight.ndim != 4 or weight.numel() == 0:
        raise UnsupportedLayerError(f"a convolution weight has shape (O, I, kh, kw), got {tuple(weight.shape)}")
    if groups < 1 or weight.shape[0] % groups:
        raise UnsupportedLayerError(f"groups must divide {weight.shape[0]} output channels, got {groups}")
    if min(*input_size, *stride, *dilation) < 1 or min(padding) < 0:
        raise UnsupportedLayerError(
            f"sizes, strides and dilations must be >= 1 and padding >= 0, got input_size={input_size}, "
            f"stride={stride}, dilation={dilation}, padding={padding}"
        )
    height, width = _axes(weight, input_size, stride, padding, dilation)
    mode = padding_mode if max(padding) > 0 else "zeros"
    room = {"circular": 0, "reflect": 1}.get(mode)
    for axis in (height, width):
        if axis.outputs < 1:
            raise UnsupportedLayerError(f"the kernel does not fit the padded map: {axis}")
        if room is not None and max(axis.before, axis.after) > axis.size - room:
            raise UnsupportedLayerError(f"{mode} padding may not exceed the map's size: {axis}")
    wide = exact_float64(weight)
    scaled, exponent = unit_scaled(wide)
    exact = torch.equal(times_power_of_two(scaled, exponent), wide)
    grouped = rearrange(scaled, "(g o) i kh kw -> g o i kh kw", g=groups)
    return _Layer(grouped, exponent, exact, height, width, mode)


def _axes(
    weight: Tensor,
    input_size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
) -> tuple[Axis, Axis]:
    height = Axis(input_size[0], weight.shape[2], stride[0], dilation[0], padding[0], padding[1])
    return height, Axis(input_size[1], weight.shape[3], stride[1], dilation[1], padding[2], padding[3])


def _windows_are_disjoint(layer: _Layer) -> bool:
    """Whether no pixel lies in two windows (patchify, 1x1 kernels) and one window lies inside the map.

    Circular copies of a pixel break the first. Without the second the rule holds, but the others are tighter.
    """
    axes = (layer.height, layer.width)
    return layer.mode == "zeros" and all(axis.stride >= axis.extent and axis.has_whole_window() for axis in axes)


def _disjoint_windows_bound(layer: _Layer) -> NormBound:
    """||W as a matrix (O, I kh kw)||, the exact norm of a window inside the map; the border sees parts of W."""
    return layer.bound(spectral_norm_upper_bound(layer.weight.flatten(2)), "disjoint windows")


def _explicit_is_affordable(layer: _Layer) -> bool:
    groups, outputs, inputs = layer.weight.shape[:3]
    rows = outputs * layer.height.outputs * layer.width.outputs
    columns = inputs * layer.height.size * layer.width.size
    side = min(rows, columns)
    axes = (layer.height, layer.width)
    # What is built on the way: both selections, and the product with the first one. Large only for odd kernels.
    selections = max(axis.taps * axis.outputs * axis.size for axis in axes)
    half = groups * outputs * inputs * layer.width.taps * layer.height.outputs * layer.height.size
    entries = max(groups * rows * columns, selections, half)
    work = groups * side**2 * (max(rows, columns) + 8 * side)
    return side <= _EXPLICIT_SIDE and entries <= _EXPLICIT_ENTRIES and work <= _EXPLICIT_WORK[effort()]


def _explicit_bound(layer: _Layer) -> NormBound:
    """The norm of the layer's matrix itself.

    Without wrap-around at most one tap joins a pixel to an output, so every entry is a copy of a weight and the
    sums with zeros are exact. With padding from the map several taps can add up; an entry is then off by at most
    gamma(taps) sum |W[t]|, and the error's Frobenius norm by at most sqrt(Y X) times that of one output position.
    """
    reads_h, reads_w = selection(layer.height, layer.mode), selection(layer.width, layer.mode)
    half = torch.einsum("goitu,tyh->goiuyh", layer.weight, reads_h)
    full = torch.einsum("goiuyh,uxw->goyxihw", half, reads_w)
    matrix = full.flatten(4).flatten(1, 3)
    error = 0.0
    if layer.mode != "zeros":
        sums = frobenius_upper_bound(layer.weight.abs().sum(dim=(3, 4)))
        places = sqrt_up(float(layer.height.outputs * layer.width.outputs))
        # twice: the terms of an entry, and the rounding of `sums` itself
        error = mul_up(gamma(2 * layer.height.taps * layer.width.taps + 4), sums, places)
    return layer.bound(spectral_norm_upper_bound(matrix, entry_error=error), "explicit matrix")


def _general_bound(layer: _Layer) -> NormBound:
    if not bool(layer.weight.any()):
        return NormBound(0.0, "zero weight")
    if layer.mode == "zeros":
        return _zero_padded_bound(layer)
    return _circular_bound(layer) if layer.mode == "circular" else _through_padding_bound(layer)


def _zero_padded_bound(layer: _Layer) -> NormBound:
    """The norm of a block circulant of which the layer is a sub-matrix; see ``zero_padded_grid``."""
    return layer.bound(*zero_padded_norm_upper_bound(layer.weight, layer.height, layer.width))


def _tight_bound(layer: _Layer) -> NormBound | None:
    """From the layer's own Gram matrix, where that is tighter than the circulant and can be afforded."""
    ceiling = _zero_padded_norm(layer.weight, layer.height, layer.width)
    tight = banded_norm_upper_bound(layer.weight, layer.height, layer.width, ceiling=ceiling)
    return None if tight is None else layer.bound(min(tight, ceiling), "block-banded operator")


def _zero_padded_norm(weight: Tensor, height: Axis, width: Axis) -> float:
    grid_h, grid_w = zero_padded_grid(height), zero_padded_grid(width)
    if grid_h is None or grid_w is None:  # no output meets a pixel
        return 0.0
    return circulant_norm_upper_bound(weight, grid_h, grid_w)


def _circular_bound(layer: _Layer) -> NormBound:
    """The circulant times sqrt(how often a row repeats), or the padding's norm times the unpadded layer's.

    Circular padding copies a pixel at most c times per axis: its norm is sqrt(c_h c_w). The second bound is tried
    only where rows repeat, since otherwise the layer is a part of the circulant itself.
    """
    grid_h, grid_w = circular_grid(layer.height), circular_grid(layer.width)
    repeats = sqrt_up(float(grid_h.repeats * grid_w.repeats))
    folded = mul_up(repeats, circulant_norm_upper_bound(layer.weight, grid_h, grid_w))
    if grid_h.repeats * grid_w.repeats == 1:
        return layer.bound(folded, "circulant")
    bound = layer.bound(folded, "circulant with repeated rows")
    return min(bound, _through_padding_bound(layer), key=lambda one: one.value)


def _through_padding_bound(layer: _Layer) -> NormBound:
    """The padding's norm, the root of how often it repeats a pixel, times that of the layer on the padded map."""
    copies = layer.height.largest_copy_count(layer.mode) * layer.width.largest_copy_count(layer.mode)
    unpadded = _zero_padded_norm(layer.weight, layer.height.padded(), layer.width.padded())
    return layer.bound(mul_up(sqrt_up(float(copies)), unpadded), f"{layer.mode} padding times circulant embedding")
