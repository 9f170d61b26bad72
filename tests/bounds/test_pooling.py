"""Pooling bounds against explicit operators, closed forms and pairs of inputs that reach them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lip_plugin.bounds import average_pool_norm_upper_bound, l2_pool_norm_upper_bound, max_pool_norm_upper_bound
from lip_plugin.errors import UnsupportedLayerError


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 2), (3, 3), (5, 4)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 3)])
@pytest.mark.parametrize("size", [(6, 6), (9, 7)])
@pytest.mark.parametrize("padded", [False, True])
def test_average_pool(kernel: tuple[int, int], stride: tuple[int, int], size: tuple[int, int], padded: bool) -> None:
    padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
    basis = torch.eye(size[0] * size[1], dtype=torch.float64).reshape(-1, 1, *size)
    exact = float(torch.linalg.svdvals(F.avg_pool2d(basis, kernel, stride, padding).flatten(1))[0])
    bound = average_pool_norm_upper_bound(kernel, input_size=size, stride=stride, padding=padding)
    assert exact * (1 - 1e-12) <= bound.value <= exact * (1 + 1e-7)


def test_average_pool_over_disjoint_windows_and_the_whole_map() -> None:
    """1 / sqrt(kh kw): the mean of k numbers has norm 1 / sqrt(k)."""
    disjoint = average_pool_norm_upper_bound((2, 2), input_size=(224, 224), stride=(2, 2))
    assert 0.5 <= disjoint.value <= 0.5 * (1 + 1e-8)
    whole = average_pool_norm_upper_bound((7, 5), input_size=(7, 5), stride=(7, 5))
    assert 1 / math.sqrt(35) <= whole.value <= (1 + 1e-8) / math.sqrt(35)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "windows"),
    [
        ((2, 2), (2, 2), (1, 1), 1),
        ((3, 3), (2, 2), (1, 1), 4),
        ((3, 3), (1, 1), (1, 1), 9),
        ((3, 2), (2, 1), (2, 1), 6),
    ],
)
def test_max_pool_is_the_root_of_the_window_count(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], windows: int
) -> None:
    value = max_pool_norm_upper_bound(kernel, stride=stride, dilation=dilation).value
    assert math.sqrt(windows) <= value <= math.sqrt(windows) * (1 + 1e-15)
    assert (value == 1.0) == (windows == 1)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_max_pool_count_against_a_raised_pixel(kernel: int, stride: int, dilation: int, ceil_mode: bool) -> None:
    """Raising one pixel of a zero map raises exactly the windows that hold it: the worst pair of inputs there is."""
    basis = torch.eye(13 * 13, dtype=torch.float64).reshape(-1, 1, 13, 13)
    pooled = F.max_pool2d(basis, kernel, stride, kernel // 2, dilation, ceil_mode)
    reached = float(torch.linalg.vector_norm(pooled.flatten(1), dim=1).max())
    bound = max_pool_norm_upper_bound((kernel, kernel), stride=(stride, stride), dilation=(dilation, dilation))
    assert reached <= bound.value
    assert reached == pytest.approx(bound.value, rel=1e-12) or dilation * (kernel - 1) + 1 > 7


def test_l2_pool_is_one_and_reached() -> None:
    assert l2_pool_norm_upper_bound((2, 2), stride=(2, 2)).value == 1.0
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pooled = F.lp_pool2d(x, 2.0, 2, 2)
    assert float(torch.linalg.vector_norm(pooled)) == pytest.approx(float(torch.linalg.vector_norm(x)), rel=1e-12)


def test_refused_pooling() -> None:
    with pytest.raises(UnsupportedLayerError, match="stride >= kernel"):
        l2_pool_norm_upper_bound((3, 3), stride=(2, 3))
    with pytest.raises(UnsupportedLayerError, match="ceil_mode"):
        l2_pool_norm_upper_bound((2, 2), stride=(2, 2), ceil_mode=True)
    with pytest.raises(UnsupportedLayerError, match="sizes >= 1"):
        max_pool_norm_upper_bound((2, 2), stride=(0, 2))
    with pytest.raises(UnsupportedLayerError, match=">= 1"):
        average_pool_norm_upper_bound((0, 2), input_size=(4, 4), stride=(2, 2))
    with pytest.raises(UnsupportedLayerError, match="does not fit"):
        average_pool_norm_upper_bound((5, 2), input_size=(4, 4), stride=(2, 2))


def test_overlapping_l2_pool_would_exceed_one() -> None:
    """Why it is refused: the 3x3 L2 pool with stride 1 stretches a single pixel threefold."""
    pixel = torch.zeros(1, 1, 7, 7, dtype=torch.float64)
    pixel[0, 0, 3, 3] = 1.0
    assert float(torch.linalg.vector_norm(F.lp_pool2d(pixel, 2.0, 3, 1))) == pytest.approx(3.0, rel=1e-12)
