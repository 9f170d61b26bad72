"""The block-banded operator: against singular values of the explicit layer, and against the circulant around it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lip_plugin.bounds import bounds_of
from lip_plugin.bounds.banded import (
    Strips,
    _strips_of_inputs,  # pyright: ignore[reportPrivateUsage]
    _strips_of_outputs,  # pyright: ignore[reportPrivateUsage]
    banded_norm_upper_bound,
)
from lip_plugin.bounds.conv import conv_norm_upper_bound, general_conv_norm_upper_bound
from lip_plugin.bounds.estimates import conv_norm_lanczos_estimate
from lip_plugin.bounds.geometry import Axis


def explicit(weight: Tensor, height: Axis, width: Axis) -> Tensor:
    """(outputs, inputs) of the layer with weight (G, O, I, kh, kw), column by column through torch."""
    groups, inputs = weight.shape[0], weight.shape[0] * weight.shape[2]
    pixels = inputs * height.size * width.size
    unit = torch.eye(pixels, dtype=torch.float64).view(pixels, inputs, height.size, width.size)
    padded = F.pad(unit, (width.before, width.after, height.before, height.after))
    stride, dilation = (height.stride, width.stride), (height.dilation, width.dilation)
    return F.conv2d(padded, weight.flatten(0, 1), None, stride, 0, dilation, groups).flatten(1).mT


def drawn(sizes: tuple[int, int, int], height: Axis, width: Axis, seed: int) -> Tensor:
    """A weight (G, O, I, kh, kw) with entries within 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*sizes, height.taps, width.taps, generator=generator, dtype=torch.float64) * 2 - 1


axes = st.builds(
    Axis,
    size=st.integers(1, 7),
    taps=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
)


@settings(max_examples=150, deadline=None)
@given(height=axes, width=axes, sizes=st.tuples(*[st.integers(1, 3)] * 3), seed=st.integers(0, 2**31))
def test_it_is_never_below_the_norm_and_hardly_above(
    height: Axis, width: Axis, sizes: tuple[int, int, int], seed: int
) -> None:
    assume(height.outputs >= 1 and width.outputs >= 1)
    weight = drawn(sizes, height, width, seed)
    norm = float(torch.linalg.svdvals(explicit(weight, height, width))[0])
    assume(norm > 0)  # else the circulant has said so
    bound = banded_norm_upper_bound(weight, height, width, ceiling=math.inf)
    assert bound is not None
    assert norm * (1 - 1e-14) <= bound <= norm * (1 + 1e-6)


@pytest.mark.parametrize("cut", [_strips_of_outputs, _strips_of_inputs])
@pytest.mark.parametrize("stride", [1, 2])
def test_both_ways_of_cutting_give_the_layer_back(cut: Callable[[Tensor, Axis, Axis], Strips], stride: int) -> None:
    """The strips put together are the explicit matrix, rows and columns in another order."""
    height, width = Axis(5, 3, stride, 2, 2, 1), Axis(4, 2, 1, 1, 1, 0)
    weight = torch.randn(1, 2, 3, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    strips = cut(weight, height, width)
    inner = 1 + max(place for places in strips.places for place in places)
    blocks = torch.zeros(len(strips.places), strips.side, inner, strips.taps[0].shape[2], dtype=torch.float64)
    for strip, places in enumerate(strips.places):
        for place, tap in places.items():
            blocks[strip, :, place] = strips.taps[tap][0]
    ours, theirs = (
        torch.linalg.svdvals(blocks.flatten(2).flatten(0, 1)),
        torch.linalg.svdvals(explicit(weight, height, width)),
    )
    assert torch.allclose(ours[: len(theirs)], theirs, atol=1e-12)
    assert float(ours[len(theirs) :].abs().sum()) < 1e-12


def test_a_factorisation_of_too_small_a_shift_does_not_complete() -> None:
    from lip_plugin.bounds.banded import _factored, _Gram  # pyright: ignore[reportPrivateUsage]

    axis = Axis(6, 3, 1, 1, 1, 1)
    weight = torch.randn(1, 2, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    norm = float(torch.linalg.svdvals(explicit(weight, axis, axis))[0])
    gram = _Gram(_strips_of_outputs(weight, axis, axis))
    assert _factored(gram, norm**2 * (1 - 1e-9)) is None
    assert _factored(gram, norm**2 * (1 + 1e-9)) is not None


def test_a_layer_too_large_to_be_written_out_is_bounded_more_tightly_than_by_the_circulant() -> None:
    """Two 1156 x 1156 matrices: their singular values are still affordable to a test."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 4, 3, 3, generator=generator)
    place = {"input_size": (17, 17), "padding": (1, 1, 1, 1), "groups": 2}
    with bounds_of("tight"):
        bound = conv_norm_upper_bound(weight, **place)  # pyright: ignore[reportArgumentType]
    halfway = general_conv_norm_upper_bound(weight, **place)  # pyright: ignore[reportArgumentType]
    axis = Axis(17, 3, 1, 1, 1, 1)
    halves = weight.double().view(2, 4, 4, 3, 3)
    norm = max(float(torch.linalg.matrix_norm(explicit(half[None], axis, axis), 2)) for half in halves)
    assert bound.method == "block-banded operator"
    assert norm * (1 - 1e-13) <= bound.value <= norm * (1 + 1e-5)
    assert halfway.value > bound.value * 1.0003


def test_it_is_left_alone_where_nothing_is_to_be_gained() -> None:
    axis = Axis(6, 3, 1, 1, 1, 1)
    weight = torch.randn(1, 2, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    norm = float(torch.linalg.svdvals(explicit(weight, axis, axis))[0])
    assert banded_norm_upper_bound(weight, axis, axis, ceiling=norm * 1.0005) is None
    assert banded_norm_upper_bound(weight, axis, axis, ceiling=norm * 1.002) is not None
    wide = torch.ones(1, 256, 256, 3, 3, dtype=torch.float64)
    map_axis = Axis(32, 3, 1, 1, 1, 1)
    assert banded_norm_upper_bound(wide, map_axis, map_axis, ceiling=math.inf) is None  # too much work


def test_the_lanczos_estimate_is_the_norm_from_below() -> None:
    axis = Axis(8, 3, 2, 1, 1, 1)
    weight = torch.randn(1, 3, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    norm = float(torch.linalg.svdvals(explicit(weight, axis, axis))[0])
    estimate = conv_norm_lanczos_estimate(
        weight[0], input_size=(8, 8), stride=(2, 2), padding=(1, 1, 1, 1), dilation=(1, 1), groups=1
    )
    assert norm * (1 - 1e-9) <= estimate <= norm * (1 + 1e-12)
