"""The convolution that is circulant along one axis: against singular values of that very operator, and of the layer."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lip_plugin.bounds import bounds_of, conv_norm_upper_bound
from lip_plugin.bounds.conv import conv_norm_work
from lip_plugin.bounds.geometry import Axis, zero_padded_grid
from lip_plugin.bounds.half_circulant import zero_padded_norm_upper_bound
from lip_plugin.bounds.symbol import circulant_norm_upper_bound

from .test_banded import axes, drawn, explicit

METHODS = ("circulant along one axis", "circulant embedding")


def circulant(weight: Tensor, height: Axis, width: Axis) -> float:
    grids = zero_padded_grid(height), zero_padded_grid(width)
    return 0.0 if None in grids else circulant_norm_upper_bound(weight, *grids)  # pyright: ignore[reportArgumentType]


@settings(max_examples=300, deadline=None)
@given(height=axes, width=axes, sizes=st.tuples(*[st.integers(1, 3)] * 3), seed=st.integers(0, 2**31))
def test_it_lies_between_the_norm_and_the_circulant(
    height: Axis, width: Axis, sizes: tuple[int, int, int], seed: int
) -> None:
    assume(height.outputs >= 1 and width.outputs >= 1)
    weight = drawn(sizes, height, width, seed)
    norm = float(torch.linalg.svdvals(explicit(weight, height, width))[0])
    bound, method = zero_padded_norm_upper_bound(weight, height, width)
    assert method in METHODS
    assert norm * (1 - 1e-13) <= bound <= circulant(weight, height, width) * (1 + 1e-8)


@settings(max_examples=60, deadline=None)
@given(
    height=st.builds(Axis, st.integers(4, 8), st.just(3), st.just(1), st.just(1), st.just(1), st.just(1)),
    width=st.builds(Axis, st.integers(4, 8), st.just(3), st.just(1), st.just(1), st.just(1), st.just(1)),
    sizes=st.tuples(*[st.integers(1, 3)] * 3),
    turned=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_it_is_the_norm_with_one_axis_wrapped(
    height: Axis, width: Axis, sizes: tuple[int, int, int], turned: bool, seed: int
) -> None:
    """Written out with the width on its grid, where the middle taps reach round: one axis or the other."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(*sizes, 3, 3, generator=generator, dtype=torch.float64)
    weight /= weight.abs().max()
    weight = weight.mT if turned else weight
    bound, method = zero_padded_norm_upper_bound(weight, height, width)
    assume(method == "circulant along one axis")
    wrapped = min(
        _wrapped_norm(weight, height, width), _wrapped_norm(weight.mT, width, height), key=lambda one: abs(one - bound)
    )
    assert wrapped * (1 - 1e-13) <= bound <= wrapped * (1 + 1.2e-4)  # estimates may lie an attempt too low


def _wrapped_norm(weight: Tensor, height: Axis, width: Axis) -> float:
    """Zero padding along the height, circular along the width, of as many columns as the circulant's grid has."""
    groups, inputs = weight.shape[0], weight.shape[0] * weight.shape[2]
    grid = zero_padded_grid(width)
    assert grid is not None
    pixels = inputs * height.size * grid.size
    unit = torch.eye(pixels, dtype=torch.float64).view(pixels, inputs, height.size, grid.size)
    padded = F.pad(F.pad(unit, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1))
    return float(torch.linalg.svdvals(F.conv2d(padded, weight.flatten(0, 1), groups=groups).flatten(1))[0])


@pytest.mark.parametrize("wrong", [0.5, 0.999, 1.0 + 1e-6, 1.5, math.nan])
def test_wrong_estimates_cost_tightness_and_never_soundness(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from lip_plugin.bounds import banded, half_circulant

    norms, norm = half_circulant.norms_estimate, banded.conv_norm_lanczos_estimate
    monkeypatch.setattr(half_circulant, "norms_estimate", lambda batch: wrong * norms(batch))
    monkeypatch.setattr(banded, "conv_norm_lanczos_estimate", lambda *given, **how: wrong * norm(*given, **how))
    height, width = Axis(9, 3, 1, 1, 1, 1), Axis(8, 3, 1, 1, 1, 1)
    for seed in range(4):
        weight = torch.randn(1, 3, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        weight /= weight.abs().max()
        exact = float(torch.linalg.svdvals(explicit(weight, height, width))[0])
        bound, _ = zero_padded_norm_upper_bound(weight, height, width)
        assert exact * (1 - 1e-13) <= bound
        assert bound <= 1.6 * circulant(weight, height, width)


def test_a_tight_bound_is_the_layers_own_and_a_quick_one_at_most_the_circulants() -> None:
    weight = torch.randn(32, 32, 3, 3, generator=torch.Generator().manual_seed(0))
    axis = Axis(8, 3, 1, 1, 1, 1)
    norm = float(torch.linalg.matrix_norm(explicit(weight.double()[None], axis, axis), 2))
    quick = conv_norm_upper_bound(weight, input_size=(8, 8), padding=(1, 1, 1, 1))
    with bounds_of("tight"):
        tight = conv_norm_upper_bound(weight, input_size=(8, 8), padding=(1, 1, 1, 1))
    assert norm * (1 - 1e-13) <= tight.value <= norm * (1 + 1e-6)
    largest = float(weight.abs().max())
    assert tight.value < quick.value <= largest * circulant(weight.double()[None] / largest, axis, axis) * (1 + 1e-8)
    assert (quick.method, tight.method) == ("circulant along one axis", "block-banded operator")


def test_no_other_word_for_a_bound() -> None:
    from lip_plugin.errors import ConfigError

    with pytest.raises(ConfigError, match="bounds are quick or tight, got 'loose'"), bounds_of("loose"):  # pyright: ignore[reportArgumentType]
        pass


def test_what_a_proof_takes_is_that_of_the_bound_that_is_asked_for() -> None:
    """32 channels on 8 x 8: strips of 256 rows are factored for a tight bound alone."""
    weight, place = torch.zeros(32, 32, 3, 3), (1, 1, 1, 1)
    quick = conv_norm_work(weight, input_size=(8, 8), padding=place)
    with bounds_of("tight"):
        tight = conv_norm_work(weight, input_size=(8, 8), padding=place)
    assert tight - quick == 8 * 256**3 * 3 * 4


@pytest.mark.parametrize("rows", [True, False])
def test_every_value_of_the_symbol_is_one_of_its_frequencys_operator(rows: bool) -> None:
    """A value counted to another frequency would be left out where that one is proved with its border."""
    from lip_plugin.bounds.half_circulant import _Split, _Symbol  # pyright: ignore[reportPrivateUsage]

    height, width = Axis(6, 3, 1, 1, 1, 1), Axis(5, 3, 1, 1, 1, 1)
    weight = torch.randn(1, 2, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    grid_h, grid_w = zero_padded_grid(height), zero_padded_grid(width)
    assert grid_h is not None and grid_w is not None
    symbol = _Symbol.of(weight, grid_h, grid_w)
    across, along = (grid_h, grid_w) if rows else (grid_w, grid_h)
    split = _Split.over(across, weight.mT if rows else weight, width if rows else height, symbol, rows=rows)
    places = torch.arange(along.size, dtype=torch.float64)[:, None] * torch.arange(3)
    turns = places * (2 * math.pi / along.size)
    taps = torch.complex(split.taps[:, 0, :2, :3, :, 0], split.taps[:, 0, 2:, :3, :, 0])  # (f, O, I, t)
    ours = torch.einsum("foit,qt->fqoi", taps, torch.polar(torch.ones_like(turns), turns))
    norms, found = torch.linalg.svdvals(ours)[..., 0], torch.linalg.svdvals(symbol.values)[:, :, 0, 0]
    for h, w in torch.cartesian_prod(*map(torch.arange, found.shape)).tolist():
        assert float((norms[split.of[h, w]] - found[h, w]).abs().min()) < 1e-12
