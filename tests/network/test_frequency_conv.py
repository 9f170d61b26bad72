"""Convolutions by frequency against torch's own Fourier transform and against singular values of explicit matrices."""

from __future__ import annotations

import math
import os
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from lip_plugin.bounds.reflection import (
    absolute_norms_upper_bound,
    factor_norm_upper_bound,
    reflection_norm_upper_bound,
)
from lip_plugin.errors import UnsupportedLayerError
from lip_plugin.network import FrequencyConv, FrequencyMatrix
from lip_plugin.network.limits import check_size
from lip_plugin.network.operators.frequencies import height_transform, width_transform
from lip_plugin.testing.jacobians import linear_matrix

INSTANCES = int(os.environ.get("LIP_FREQUENCY_CONV_INSTANCES", "25"))
"""500 take ten seconds on one core."""


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _by_library(operator: FrequencyConv, x: Tensor) -> Tensor:
    """The definition through torch.fft: all frequencies, the other half by conjugation, and the real part."""
    top, bottom, left, right = operator.padding
    x = torch.nn.functional.pad(x, (left, right, top, bottom))
    height, width = x.shape[2:]
    u = _all_frequencies(operator.factor, width)
    z = torch.fft.fft2(x).permute(2, 3, 1, 0)
    y = torch.fft.ifft2((z - u @ (u.mH @ z)).permute(3, 2, 0, 1)).real
    top, bottom, left, right = operator.crop
    return y[:, :, top : height - bottom, left : width - right]


def _all_frequencies(stored: Tensor, width: int) -> Tensor:
    """(N, M, m, n) complex: those that are not stored are the conjugates of the opposite ones."""
    half = torch.complex(*stored.chunk(2, 2))
    mirrored = half.roll(-1, 0).flip(0).conj()  # of (-k, l)
    return torch.stack([half[:, l] if 2 * l <= width else mirrored[:, width - l] for l in range(width)], 1)  # noqa: E741


def _random_instance(seed: int) -> tuple[FrequencyConv, tuple[int, int, int]]:
    """Any sides, padding, cropping and scale; every second one has factors that are no spectrum of real taps."""

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    generator = torch.Generator().manual_seed(seed)
    channels, rank = pick(1, 4), pick(1, 4)
    padding = pick(0, 2), pick(0, 2), pick(0, 2), pick(0, 2)
    height, width = pick(3, 6), pick(3, 6)
    high, wide = height + sum(padding[:2]), width + sum(padding[2:])
    most = min(2, (high - 1) // 2), min(2, (wide - 1) // 2)
    crop = pick(0, most[0]), pick(0, most[0]), pick(0, most[1]), pick(0, most[1])
    scale = 2.0 ** pick(-6, 2)
    if seed % 2:
        factor = scale * _draw(high, wide // 2 + 1, 2 * channels, rank, seed=seed)
    else:
        spectrum = torch.fft.rfft2(scale * _draw(channels, rank, high, wide, seed=seed)).permute(2, 3, 0, 1)
        factor = torch.cat([spectrum.real, spectrum.imag], 2) / math.sqrt(high * wide)
    return FrequencyConv(factor.contiguous(), padding, crop), (channels, height, width)


@pytest.mark.parametrize("seed", range(INSTANCES))
def test_any_instance_is_computed_and_bounded(seed: int) -> None:
    operator, shape = _random_instance(seed)
    x = _draw(3, *shape, seed=seed + 1)
    expected = _by_library(operator, x)
    assert tuple(expected.shape[1:]) == operator.output_shape(shape)
    assert torch.allclose(operator.apply(x), expected, rtol=1e-11, atol=1e-12 * float(expected.abs().max()))
    exact = float(torch.linalg.matrix_norm(linear_matrix(operator, shape), 2))
    bound = operator.lipschitz_upper_bound(shape).value
    assert exact <= bound * (1 + 1e-12)
    if not seed % 2 and not any((*operator.padding, *operator.crop)):
        assert bound <= exact * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(INSTANCES))
def test_any_matrices_are_computed_and_bounded(seed: int) -> None:
    """Through torch.fft and the explicit Jacobian's SVD; every second one is no spectrum of real taps."""
    random = Random(seed)
    outputs, inputs, height, width = (random.randint(1, 5) for _ in range(4))
    scale = 2.0 ** random.randint(-6, 2)
    if seed % 2:
        matrix = scale * _draw(height, width // 2 + 1, 2 * outputs, inputs, seed=seed)
    else:
        spectrum = torch.fft.rfft2(scale * _draw(outputs, inputs, height, width, seed=seed)).permute(2, 3, 0, 1)
        matrix = torch.cat([spectrum.real, spectrum.imag], 2)
    operator, shape = FrequencyMatrix(matrix), (inputs, height, width)
    x = _draw(3, *shape, seed=seed + 1)
    z = _all_frequencies(matrix, width) @ torch.fft.fft2(x).permute(2, 3, 1, 0)
    expected = torch.fft.ifft2(z.permute(3, 2, 0, 1)).real
    assert tuple(expected.shape[1:]) == operator.output_shape(shape)
    assert torch.allclose(operator.apply(x), expected, rtol=1e-11, atol=1e-12 * float(expected.abs().max()))
    exact = float(torch.linalg.matrix_norm(linear_matrix(operator, shape), 2))
    bound = operator.lipschitz_upper_bound(shape).value
    assert exact * (1 - 1e-13) <= bound
    if not seed % 2:
        assert bound <= exact * (1 + 1e-8)


@pytest.mark.parametrize("seed", range(INSTANCES))
def test_bounds_of_factors_against_svd(seed: int) -> None:
    """Tall, square and wide ones, near 2 I where that is the case that matters, and at odd scales."""
    channels, rank = 1 + seed % 5, 1 + seed // 5 % 6
    factor = _draw(7, 2 * channels, rank, seed=seed)
    u = torch.complex(factor[:, :channels], factor[:, channels:])
    if seed % 3 == 0:  # a reflection: U^H U = 2 I
        u = math.sqrt(2.0) * torch.linalg.qr(u)[0]
        factor = torch.cat([u.real, u.imag], 1)
    scale = 2.0 ** (0, 0, 5, -40, 300)[seed % 5]
    identity = torch.eye(channels, dtype=torch.complex128)
    exact = float(torch.linalg.matrix_norm(identity - scale * u @ (scale * u).mH, 2).max())
    bound = reflection_norm_upper_bound(scale * factor).value
    assert max(1.0, exact * (1 - 1e-12)) <= bound <= max(1.0, exact) * (1 + 1e-8)
    norm = scale * float(torch.linalg.matrix_norm(u, 2).max())
    assert norm * (1 - 1e-12) <= factor_norm_upper_bound(scale * factor)
    if seed % 3 == 0:
        assert factor_norm_upper_bound(scale * factor) <= norm * (1 + 1e-7)
    of_absolute = scale * float(torch.linalg.matrix_norm(factor.abs(), 2).max())
    assert of_absolute * (1 - 1e-12) <= absolute_norms_upper_bound(scale * factor)


def test_factors_with_more_columns_than_channels_take_no_more_room_than_they_have() -> None:
    """A Gram matrix of the 2^17 columns would have 137 GB; on few columns the bound is that of the rows, and tight."""
    rows = torch.linalg.qr(torch.complex(_draw(7, 5, 2, seed=1), _draw(7, 5, 2, seed=2)))[0].mH  # (7, 2, 5)
    bound = factor_norm_upper_bound(torch.cat([rows.real, rows.imag], 1))
    assert 1.0 - 1e-12 <= bound <= 1.0 + 1e-7
    factor = _draw(1, 1, 2, 2**17, seed=3)
    operator, norm = FrequencyConv(factor), float(factor.square().sum().sqrt())
    assert norm * (1 - 1e-12) <= factor_norm_upper_bound(factor.flatten(0, 1)) <= norm * (1 + 1e-7)
    exact = 1.0 - norm**2
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    term = operator.rounding_term((1, 1, 1), 2.0**-53)
    assert abs(float(operator.apply(x)) - exact) <= 2 * term.relative


def test_a_factor_that_is_slightly_too_long_is_seen() -> None:
    """||U||^2 = 2 + d gives 1 + d and no less."""
    for excess in (1e-9, 1e-6, 1e-3, 1.0):
        factor = torch.zeros(3, 8, 2, dtype=torch.float64)
        factor[1, 2, 0] = math.sqrt(2.0 + excess)
        bound = reflection_norm_upper_bound(factor).value
        assert 1.0 + excess * (1 - 1e-6) <= bound <= 1.0 + excess + 1e-8
    assert reflection_norm_upper_bound(0.5 * factor).value == 1.0


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 18])
def test_transforms_are_isometries(size: int) -> None:
    high, wide = height_transform(size), width_transform(size)
    assert torch.allclose(high.mT @ high, torch.eye(2 * size, dtype=torch.float64), atol=1e-14)
    assert torch.allclose(wide.mT @ wide, torch.eye(size, dtype=torch.float64), atol=1e-14)
    x = _draw(size, seed=size)
    spectrum = torch.fft.rfft(x, norm="ortho")
    doubled = torch.full((size // 2 + 1,), math.sqrt(2.0), dtype=torch.float64)
    doubled[0] = 1.0
    if size % 2 == 0:
        doubled[-1] = 1.0
    expected = torch.cat([spectrum.real * doubled, spectrum.imag * doubled])
    assert torch.allclose(wide @ x, expected, atol=1e-13)


def test_what_does_not_fit_is_refused() -> None:
    factor = torch.zeros(8, 5, 6, 2)
    for broken in (factor[0], factor[:, :, :5], factor[:0], factor.long(), torch.complex(factor, factor)):
        for kind in (FrequencyConv, FrequencyMatrix):
            with pytest.raises(UnsupportedLayerError):
                kind(broken)
    wrong: list[dict[str, Any]] = [{"padding": (1, 1, 1)}, {"crop": (0, -1, 0, 0)}, {"padding": 1}]
    for settings in wrong:
        with pytest.raises(UnsupportedLayerError):
            FrequencyConv(factor, **settings)
    operator = FrequencyConv(factor, padding=(1, 1, 1, 1))
    assert operator.output_shape((3, 6, 6)) == (3, 8, 8)
    for shape in ((4, 6, 6), (3, 5, 6), (3, 6, 8), (3, 36), (3, 8, 8)):
        with pytest.raises(UnsupportedLayerError):
            operator.output_shape(shape)
    for shape in ((3, 8, 8), (2, 8, 7), (2, 9, 8), (2, 64)):
        with pytest.raises(UnsupportedLayerError):
            FrequencyMatrix(factor).output_shape(shape)
    with pytest.raises(UnsupportedLayerError, match="leaves nothing"):
        FrequencyConv(factor, crop=(4, 4, 0, 0)).output_shape((3, 8, 8))
    with pytest.raises(UnsupportedLayerError, match="NaN"):
        FrequencyConv(factor * torch.nan).lipschitz_upper_bound((3, 8, 8))


def test_a_transform_that_fills_the_memory_is_refused() -> None:
    """The matrix of a transform grows with the square of a side; a thin map would otherwise pass as small."""
    thin = FrequencyConv(torch.zeros(2048, 1, 2, 1))
    with pytest.raises(UnsupportedLayerError, match="taps"):
        check_size([thin], (1, 2048, 1))
