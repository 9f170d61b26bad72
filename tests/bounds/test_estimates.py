"""Power iteration against singular values: it comes from below, converges, and stays pure."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lip_plugin.bounds import conv_norm_estimate, conv_norm_upper_bound, dense_norm_estimate


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def conv_singular_value(
    weight: Tensor, padding: tuple[int, int, int, int], stride: int, dilation: int, groups: int, mode: str
) -> float:
    channels = weight.shape[1] * groups
    basis = torch.eye(channels * 42, dtype=torch.float64).reshape(-1, channels, 6, 7)
    top, bottom, left, right = padding
    padded = F.pad(basis, (left, right, top, bottom), mode="constant" if mode == "zeros" else mode)
    images = F.conv2d(padded, weight, stride=stride, dilation=dilation, groups=groups)
    return float(torch.linalg.svdvals(images.flatten(1))[0])


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (1, 4)])
def test_dense_estimate_is_below_and_converges(shape: tuple[int, int]) -> None:
    weight = noise(*shape)
    exact = float(torch.linalg.svdvals(weight)[0])
    early, _ = dense_norm_estimate(weight, steps=1)
    late, vector = dense_norm_estimate(weight, steps=500)
    assert float(early) <= float(late) * (1 + 1e-12) <= exact * (1 + 2e-12)
    assert float(late) == pytest.approx(exact, rel=1e-6)
    assert float(torch.linalg.vector_norm(vector)) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 1), (3, 1, 2), (1, 2, 2), (2, 2, 1)])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 3, 2, 1)])
def test_conv_estimate_is_below_and_converges(
    mode: str, stride: int, dilation: int, groups: int, padding: tuple[int, int, int, int]
) -> None:
    weight = noise(4, 2, 3, 2, seed=3)
    exact = conv_singular_value(weight, padding, stride, dilation, groups, mode)
    estimate, vector = conv_norm_estimate(
        weight,
        input_size=(6, 7),
        stride=(stride, stride),
        padding=padding,
        dilation=(dilation, dilation),
        groups=groups,
        padding_mode=mode,
        steps=600,
    )
    assert exact * 0.99 <= float(estimate) <= exact * (1 + 1e-12)
    assert vector.shape == (1, 2 * groups, 6, 7)


def test_warm_start_continues_where_it_stopped() -> None:
    weight = noise(3, 2, 3, 3)
    first, vector = conv_norm_estimate(weight, input_size=(6, 6), padding=(1, 1, 1, 1), steps=3)
    second, _ = conv_norm_estimate(weight, input_size=(6, 6), padding=(1, 1, 1, 1), steps=3, start=vector)
    direct, _ = conv_norm_estimate(weight, input_size=(6, 6), padding=(1, 1, 1, 1), steps=6)
    assert float(first) < float(second) == pytest.approx(float(direct), rel=1e-12)


def test_an_estimate_is_not_a_bound() -> None:
    """After a few steps it is below the exact norm, and hence below the proved bound."""
    weight = noise(3, 2, 3, 3)
    exact = conv_singular_value(weight, (1, 1, 1, 1), 1, 1, 1, "zeros")
    estimate, _ = conv_norm_estimate(weight, input_size=(6, 7), padding=(1, 1, 1, 1), steps=2)
    proved = conv_norm_upper_bound(weight, input_size=(6, 7), padding=(1, 1, 1, 1)).value
    assert float(estimate) < 0.999 * exact <= proved


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
def test_small_weights_are_not_shrunk_in_float32(scale: float) -> None:
    weight = (noise(6, 8) * scale).float()
    exact = float(torch.linalg.svdvals(weight.double())[0])
    estimate, _ = dense_norm_estimate(weight, steps=200)
    assert float(estimate) / exact == pytest.approx(1.0, rel=1e-4)


def test_gradient_is_that_of_the_singular_value() -> None:
    weight = noise(5, 7).requires_grad_()
    estimate, vector = dense_norm_estimate(weight, steps=3000)
    (gradient,) = torch.autograd.grad(estimate, weight)
    left, _, right = torch.linalg.svd(weight.detach())
    assert torch.allclose(gradient, torch.outer(left[:, 0], right[0]), atol=1e-6)
    assert not vector.requires_grad


def test_zero_weights_give_zero_and_the_global_generator_is_untouched() -> None:
    state = torch.get_rng_state()
    estimate, vector = conv_norm_estimate(torch.zeros(2, 1, 3, 3), input_size=(5, 5))
    assert float(estimate) == 0.0 and bool(torch.isfinite(vector).all())
    assert torch.equal(torch.get_rng_state(), state)
