"""Convolution bounds against the singular values of the operator itself, built by running it on a basis."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TypedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import NormBound, bounds_of, conv_norm_upper_bound, general_conv_norm_upper_bound
from lip_plugin.errors import UnsupportedLayerError

SVD_ROUNDING = 1e-12


class Geometry(TypedDict):
    input_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    padding_mode: str


@dataclass(frozen=True)
class Layer:
    weight: Tensor
    geometry: Geometry

    def exact(self) -> float:
        """Largest singular value of the explicit operator."""
        return float(torch.linalg.svdvals(operator(self.weight, self.geometry))[0])

    def bounds(self) -> tuple[NormBound, NormBound]:
        return (
            conv_norm_upper_bound(self.weight, **self.geometry),
            general_conv_norm_upper_bound(self.weight, **self.geometry),
        )


def geometry(
    size: tuple[int, int],
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    mode: str = "zeros",
) -> Geometry:
    return Geometry(
        input_size=size,
        stride=(stride, stride),
        padding=(padding, padding, padding, padding),
        dilation=(dilation, dilation),
        groups=groups,
        padding_mode=mode,
    )


def operator(weight: Tensor, place: Geometry) -> Tensor:
    """The layer's matrix (inputs, outputs), transposed: row i is the image of basis map i under torch's own layer."""
    channels = weight.shape[1] * place["groups"]
    height, width = place["input_size"]
    basis = torch.eye(channels * height * width, dtype=torch.float64).reshape(-1, channels, height, width)
    top, bottom, left, right = place["padding"]
    mode = "constant" if place["padding_mode"] == "zeros" else "circular"
    padded = F.pad(basis, (left, right, top, bottom), mode=mode)
    images = F.conv2d(
        padded, weight.double(), stride=place["stride"], dilation=place["dilation"], groups=place["groups"]
    )
    return images.flatten(1)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fits(layer: Layer) -> bool:
    top, bottom, left, right = layer.geometry["padding"]
    height, width = layer.geometry["input_size"]
    extents = [d * (k - 1) + 1 for d, k in zip(layer.geometry["dilation"], layer.weight.shape[2:], strict=True)]
    return height + top + bottom >= extents[0] and width + left + right >= extents[1]


def random_layer(source: random.Random, mode: str) -> Layer:
    """Kernel 1-7, stride 1-4, padding 0-9 and asymmetric, dilation 1-3, groups 1-3, maps from one pixel up."""
    groups = source.choice([1, 1, 2, 3])
    size = (source.randint(1, 9), source.randint(1, 9))
    limit = (9, 9) if mode == "zeros" else size
    pads = [source.randint(0, limit[axis]) for axis in (0, 0, 1, 1)] if source.random() < 0.8 else [0, 0, 0, 0]
    weight = noise(
        groups * source.randint(1, 3),
        source.randint(1, 3),
        source.randint(1, 7),
        source.randint(1, 7),
        seed=source.randint(0, 2**31),
    )
    layer = Layer(
        weight.abs() if source.random() < 0.3 else weight,
        Geometry(
            input_size=size,
            stride=(source.randint(1, 4), source.randint(1, 4)),
            padding=(pads[0], pads[1], pads[2], pads[3]),
            dilation=(source.randint(1, 3), source.randint(1, 3)),
            groups=groups,
            padding_mode=mode,
        ),
    )
    return layer if fits(layer) else random_layer(source, mode)


def assert_sound(layer: Layer) -> tuple[float, float]:
    """Both rules at or above the exact norm, which is known to SVD rounding; returns their ratios to it."""
    exact = layer.exact()
    chosen, general = layer.bounds()
    for bound in (chosen, general):
        assert bound.value >= exact * (1 - SVD_ROUNDING), (bound, exact, layer.geometry, layer.weight.shape)
    return (chosen.value / exact, general.value / exact) if exact else (1.0, 1.0)


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("seed", range(4))
def test_random_layers_are_never_below_the_exact_norm(mode: str, seed: int) -> None:
    source = random.Random(seed)
    for _ in range(100):
        assert_sound(random_layer(source, mode))


@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_chosen_rule_is_exact_on_small_layers(mode: str) -> None:
    source = random.Random(7)
    seen = 0
    while seen < 60:
        layer = random_layer(source, mode)
        chosen = layer.bounds()[0]
        if chosen.method in ("explicit matrix", "disjoint windows"):
            seen += 1
            exact = layer.exact()
            assert exact * (1 - SVD_ROUNDING) <= chosen.value <= exact * (1 + 1e-7) + 1e-280


def test_general_rule_is_tight_on_maps_three_kernels_wide() -> None:
    source = random.Random(3)
    excess: list[float] = []
    for index in range(100):
        kernel = source.choice([2, 3, 3, 4, 5])
        side = source.randint(3 * kernel, min(3 * kernel + 3, 15))
        channels = 3 if side <= 10 else 1
        place = geometry((side, side), padding=kernel // 2)
        if index % 2:
            first, second, third, fourth = (source.randint(0, kernel - 1) for _ in range(4))
            place["padding"] = (first, second, third, fourth)
        layer = Layer(noise(source.randint(1, 4), channels, kernel, kernel, seed=index), place)
        exact, general = layer.exact(), general_conv_norm_upper_bound(layer.weight, **place)
        assert general.method in ("circulant embedding", "circulant along one axis")
        excess.append(general.value / exact - 1)
    assert min(excess) >= -SVD_ROUNDING
    assert sorted(excess)[50] <= 0.05 and max(excess) <= 0.15


def circulant_of_size_n(weight: Tensor, size: tuple[int, int]) -> float:
    """The shortcut most code takes: the FFT on the map's own grid, which is not a bound for zero padding."""
    symbol = torch.fft.fft2(weight, s=size).permute(2, 3, 0, 1)
    return float(torch.linalg.svdvals(symbol)[..., 0].max())


def test_the_grid_of_size_n_is_not_a_bound_and_ours_is() -> None:
    """These checks can fail: the shortcut falls below the exact norm on some of the very layers tested here."""
    below = 0
    for seed in range(60):
        layer = Layer(noise(2, 2, 3, 3, seed=seed), geometry((5, 5), padding=1))
        assert_sound(layer)
        below += circulant_of_size_n(layer.weight, (5, 5)) < layer.exact() * (1 - 1e-3)
    checkerboard = torch.tensor([[(-1.0) ** (i + j) for j in range(3)] for i in range(3)], dtype=torch.float64)
    layer = Layer(checkerboard.reshape(1, 1, 3, 3), geometry((5, 5), padding=1))
    below += circulant_of_size_n(layer.weight, (5, 5)) < layer.exact() * (1 - 1e-3)
    assert below > 0


def test_circular_padding_beyond_same_is_above_the_plain_circulant() -> None:
    """Padding p with 2 p > k - 1 repeats rows: the circulant of size n alone is then too small."""
    layer = Layer(torch.ones(1, 1, 1, 1, dtype=torch.float64), geometry((4, 4), padding=4, mode="circular"))
    exact = layer.exact()
    assert exact == pytest.approx(3.0, rel=1e-12)  # every pixel is copied nine times
    assert circulant_of_size_n(layer.weight, (4, 4)) < 0.5 * exact
    chosen, general = assert_sound(layer)
    assert chosen <= 1 + 1e-7 and general <= 1 + 1e-7


@pytest.mark.parametrize("size", [(6, 6), (7, 7), (6, 9)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("kind", ["checkerboard", "stripes", "mean", "shift"])
def test_adversarial_kernels(size: tuple[int, int], stride: int, mode: str, kind: str) -> None:
    rows, columns = torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")
    kernels = {
        "checkerboard": (-1.0) ** (rows + columns),
        "stripes": (-1.0) ** rows,
        "mean": torch.full((3, 3), 1 / 9),
        "shift": ((rows == 0) & (columns == 2)).double(),
    }
    weight = kernels[kind].double().reshape(1, 1, 3, 3)
    assert_sound(Layer(weight, geometry(size, stride=stride, padding=1, mode=mode)))


def test_averaging_kernel_with_circular_padding_has_norm_one() -> None:
    weight = torch.full((1, 1, 3, 3), 1.0, dtype=torch.float64)
    for bound in Layer(weight, geometry((8, 8), padding=1, mode="circular")).bounds():
        assert 9.0 <= bound.value <= 9.0 * (1 + 1e-9)


@pytest.mark.parametrize("size", [(8, 8), (9, 11)])
def test_patchify_is_the_reshaped_matrix(size: tuple[int, int]) -> None:
    weight = noise(12, 3, 4, 4)
    exact = float(torch.linalg.svdvals(weight.flatten(1))[0])
    bound = conv_norm_upper_bound(weight, **geometry(size, stride=4))
    assert bound.method == "disjoint windows"
    assert exact * (1 - SVD_ROUNDING) <= bound.value <= exact * (1 + 1e-8)
    assert exact == pytest.approx(Layer(weight, geometry(size, stride=4)).exact(), rel=1e-10)


def test_circular_padding_is_never_taken_for_disjoint_windows() -> None:
    layer = Layer(torch.ones(1, 1, 2, 2, dtype=torch.float64), geometry((2, 2), stride=2, padding=2, mode="circular"))
    shortcut = float(torch.linalg.svdvals(layer.weight.flatten(1))[0])
    assert shortcut < 0.5 * layer.exact()
    assert_sound(layer)


def test_groups_give_the_maximum_and_not_the_sum() -> None:
    weight = noise(6, 2, 3, 3)
    weight[2:4] *= 5
    layer = Layer(weight, geometry((6, 6), padding=1, groups=3))
    alone = [Layer(weight[i : i + 2], geometry((6, 6), padding=1)).exact() for i in (0, 2, 4)]
    chosen, general = layer.bounds()
    assert chosen.value == pytest.approx(max(alone), rel=1e-7)
    assert max(alone) <= general.value <= 1.15 * max(alone)


@pytest.mark.parametrize("scale", [1e-150, 1e150, 1e-300])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_scaled_weights(scale: float, mode: str) -> None:
    layer = Layer(noise(2, 2, 3, 3), geometry((5, 5), padding=1, mode=mode))
    exact = layer.exact()
    for bound, unscaled in zip(Layer(layer.weight * scale, layer.geometry).bounds(), layer.bounds(), strict=True):
        assert exact * (1 - SVD_ROUNDING) <= bound.value / scale <= unscaled.value * (1 + 1e-9)


def test_weights_of_very_different_size() -> None:
    weight = noise(2, 2, 3, 3)
    weight[0] *= 1e-200
    weight[1, 0] *= 1e-12
    assert_sound(Layer(weight, geometry((5, 5), padding=1)))
    corner = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    corner[0, 0, 0, 0], corner[0, 0, 1, 1] = 1e200, 1e-200  # on a one-pixel map only the centre meets it
    layer = Layer(corner, geometry((1, 1), padding=1))
    for bound in layer.bounds():
        assert bound.value >= 1e-200


def test_zero_weights_and_outputs_that_meet_no_pixel() -> None:
    for bound in Layer(torch.zeros(2, 1, 3, 3), geometry((5, 5), padding=1)).bounds():
        assert bound.value == 0.0
    apart = geometry((1, 1), padding=2, stride=4)  # the only output reads the border
    assert Layer(noise(1, 1, 1, 1), apart).exact() == 0.0
    assert general_conv_norm_upper_bound(noise(1, 1, 1, 1), **apart).value == 0.0


def test_near_identity_block_that_needs_the_general_rule() -> None:
    weight = noise(16, 16, 3, 3) / 40
    weight[range(16), range(16), 1, 1] += 1.0
    layer = Layer(weight, geometry((10, 10), padding=1))
    with bounds_of("tight"):
        bound = conv_norm_upper_bound(weight, **layer.geometry)
    exact = layer.exact()
    assert bound.method == "block-banded operator"
    assert exact * (1 - SVD_ROUNDING) <= bound.value <= 1.00001 * exact


def test_strided_stem_uses_the_stride() -> None:
    """Ignoring the stride costs 50 % and more; polyphase keeps within 15 %."""
    weight = noise(8, 3, 5, 5)
    strided = general_conv_norm_upper_bound(weight, **geometry((16, 16), stride=2, padding=2)).value
    unstrided = general_conv_norm_upper_bound(weight, **geometry((16, 16), stride=1, padding=2)).value
    exact = Layer(weight, geometry((16, 16), stride=2, padding=2)).exact()
    assert exact * (1 - SVD_ROUNDING) <= strided <= 1.15 * exact < unstrided


def test_symbol_in_chunks_is_the_same_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, place = noise(4, 3, 3, 3), geometry((9, 8), padding=1, stride=2)
    whole = general_conv_norm_upper_bound(weight, **place).value
    monkeypatch.setattr("lip_plugin.bounds.symbol._CHUNK_ENTRIES", 100)
    assert general_conv_norm_upper_bound(weight, **place).value == pytest.approx(whole, rel=1e-7)
    assert whole >= Layer(weight, place).exact()


@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 1000])
def test_twiddles_against_known_powers(length: int) -> None:
    """Sums of cos over a full circle vanish and squares add up to one, within the stated error."""
    from lip_plugin.bounds.symbol import TWIDDLE_ERROR, _twiddle_tables  # pyright: ignore[reportPrivateUsage]

    cosines, sines = _twiddle_tables(length)
    radii = cosines.square() + sines.square()
    assert float((radii - 1).abs().max()) <= 4 * TWIDDLE_ERROR
    if length > 1:
        assert abs(math.fsum(cosines.tolist())) <= length * TWIDDLE_ERROR
        turned = torch.complex(cosines, sines) * complex(float(cosines[1]), float(sines[1]))
        rolled = torch.complex(cosines, sines).roll(-1)
        assert float((turned - rolled).abs().max()) <= 8 * TWIDDLE_ERROR


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_weights_are_refused(bad: float) -> None:
    weight = torch.ones(1, 1, 3, 3)
    weight[0, 0, 1, 1] = bad
    for rule in (conv_norm_upper_bound, general_conv_norm_upper_bound):
        with pytest.raises(UnsupportedLayerError, match="NaN or infinite"):
            rule(weight, **geometry((5, 5)))


def test_geometries_that_torch_refuses_are_refused() -> None:
    weight = torch.ones(2, 1, 3, 3)
    place = geometry((5, 5))
    wrong: list[Geometry] = [
        {**place, "padding_mode": "mirror"},
        {**place, "input_size": (2, 5)},
        {**place, "groups": 3},
        {**place, "groups": 0},
        {**place, "stride": (0, 1)},
        {**place, "padding": (0, 0, -1, 0)},
        {**place, "padding": (6, 0, 0, 0), "padding_mode": "circular"},
    ]
    for refused in wrong:
        with pytest.raises(UnsupportedLayerError):
            conv_norm_upper_bound(weight, **refused)
    with pytest.raises(UnsupportedLayerError, match="shape"):
        conv_norm_upper_bound(torch.ones(2, 3, 3), **place)
    with pytest.raises(UnsupportedLayerError, match="shape"):
        conv_norm_upper_bound(torch.ones(0, 1, 3, 3), **place)


def test_pure() -> None:
    weight = noise(3, 2, 3, 3).requires_grad_()
    before, state = weight.detach().clone(), torch.get_rng_state()
    first = conv_norm_upper_bound(weight, **geometry((5, 5), padding=1))
    assert conv_norm_upper_bound(weight, **geometry((5, 5), padding=1)) == first
    assert torch.equal(weight.detach(), before) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("channels", [2, 12])
def test_the_default_device_and_dtype_do_not_matter(channels: int) -> None:
    weight, place = noise(channels, channels, 3, 3), geometry((11, 11), padding=1)
    expected = conv_norm_upper_bound(weight, **place)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device("meta"):
            assert conv_norm_upper_bound(weight, **place) == expected
    finally:
        torch.set_default_dtype(before)
