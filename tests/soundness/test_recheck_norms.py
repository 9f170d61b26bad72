"""The norms that the independent checker proves: against singular values, and with a LAPACK that lies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lip_plugin.bounds.conv import general_conv_norm_upper_bound

from .loading import load_checker

convolutions, norms = load_checker("convolutions"), load_checker("norms")


def _random_conv(seed: int) -> tuple[nn.Conv2d, tuple[int, int, int]]:
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2]))
    kernel, dilation, stride = rng.integers(1, 5, 2), rng.integers(1, 3, 2), rng.integers(1, 4, 2)
    padding = [int(rng.integers(0, d * (k - 1) + 1)) for k, d in zip(kernel, dilation, strict=True)]
    torch.manual_seed(seed)
    conv = nn.Conv2d(
        groups * int(rng.integers(1, 4)),
        groups * int(rng.integers(1, 4)),
        (int(kernel[0]), int(kernel[1])),
        stride=(int(stride[0]), int(stride[1])),
        padding=(padding[0], padding[1]),
        dilation=(int(dilation[0]), int(dilation[1])),
        groups=groups,
        bias=False,
        dtype=torch.float64,
    )
    return conv, (conv.in_channels, int(rng.integers(7, 11)), int(rng.integers(7, 11)))


def _as_layer(conv: nn.Conv2d, shape: tuple[int, int, int], padding: list[int] | None = None) -> Any:
    top, left = conv.padding
    weight, ends = conv.weight.detach().numpy(), padding or [top, top, left, left]
    return convolutions.Convolution(weight, shape[1:], conv.stride, conv.dilation, ends, conv.groups)


def _images(conv: nn.Conv2d, shape: tuple[int, int, int], padding: list[int]) -> torch.Tensor:
    """Of the unit vectors, as torch computes them."""
    size = int(np.prod(shape))
    top, bottom, left, right = padding
    units = functional.pad(torch.eye(size, dtype=torch.float64).reshape(size, *shape), (left, right, top, bottom))
    with torch.no_grad():
        return functional.conv2d(units, conv.weight, None, conv.stride, 0, conv.dilation, conv.groups)


@pytest.mark.parametrize("seed", range(40))
def test_norms_of_convolutions_against_singular_values(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    conv, shape = _random_conv(seed)
    layer = _as_layer(conv, shape)
    images = _images(conv, shape, layer.padding)
    exact = float(torch.linalg.matrix_norm(images.flatten(1), 2))
    small, method = layer.norm()
    assert method in ("strips", "windows without overlap")
    assert exact * (1 - 1e-13) <= small
    assert small <= exact * (1 + 1e-6)
    monkeypatch.setattr(convolutions, "SMALL", 0)
    large, method = layer.norm()
    assert exact * (1 - 1e-13) <= large <= exact * (1 + 1e-3)
    monkeypatch.setattr(convolutions, "STRIPS_WORK", 0)
    grid, method = layer.norm()
    assert method in ("circulant grid", "windows without overlap")
    assert exact * (1 - 1e-13) <= grid <= exact * 2


def _strips(seed: int) -> tuple[list[Any], float]:
    """The Gram matrices of a random layer, padded differently on every side, and its norm."""
    conv, shape = _random_conv(seed)
    padding = np.random.default_rng(seed).integers(0, 4, 4).tolist()
    layer = _as_layer(conv, shape, padding)
    images = _images(conv, shape, padding)
    unit = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    np.testing.assert_allclose(layer.apply(unit, layer.weight), images.numpy(), atol=1e-15)
    exact = torch.linalg.matrix_norm(images.flatten(1), 2)
    return [convolutions.strip_gram(part, *layer.axes()) for part in layer.parts()], float(exact)


@pytest.mark.parametrize("seed", range(100, 130))
def test_norms_on_strips_against_singular_values(seed: int) -> None:
    grams, exact = _strips(seed)
    assert exact * (1 - 1e-13) <= norms.proved_norm(grams) <= exact * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(100, 110))
@pytest.mark.parametrize("factor", [0.2, 0.9, 1 - 1e-5, 1 - 1e-12])
def test_too_small_a_norm_is_not_proved(seed: int, factor: float) -> None:
    grams, exact = _strips(seed)
    square = (factor * exact) ** 2
    for blocks, rounding in grams:
        try:
            missing = norms.remainder(blocks, square)
        except np.linalg.LinAlgError:
            continue
        norm = norms.proved_norm([(blocks, rounding)])
        assert square + missing + rounding >= norm**2 * (1 - 1e-6)  # another group's, where it is below the layer's
    assert norms.proved_norm(grams, square) >= exact * (1 - 1e-13)


@pytest.mark.parametrize(
    ("name", "tampered"),
    [
        ("cholesky", lambda sound, a: 0.9 * sound(a)),
        ("cholesky", lambda sound, a: np.eye(len(a))),
        ("cholesky", lambda sound, a: np.zeros(a.shape)),
        ("solve", lambda sound, a, b: 0.0 * b),
        ("solve", lambda sound, a, b: 1.1 * sound(a, b)),
        ("eigh", lambda sound, a: (0.3 * sound(a)[0], sound(a)[1])),
        ("eigh", lambda sound, a: (2.0 * sound(a)[0], sound(a)[1])),
    ],
)
@pytest.mark.parametrize("seed", [100, 104, 108, 120])
def test_wrong_guesses_raise_the_bound(
    seed: int, name: str, tampered: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LAPACK may return anything: the bound stays one, and is no longer sharp."""
    grams, exact = _strips(seed)
    assert max(i - j for i, j in grams[0][0]) > 0
    sound = getattr(np.linalg, name)
    monkeypatch.setattr(np.linalg, name, lambda *arguments: tampered(sound, *arguments))
    assert norms.proved_norm(grams) >= exact * (1 + 1e-6)
    monkeypatch.setattr(norms, "guess", lambda blocks: 0.0)
    for factor in (0.5, 0.8, 0.95):
        assert norms.proved_norm(grams, (factor * exact) ** 2) >= exact * (1 - 1e-13)


def test_the_largest_of_all_errors_counts() -> None:
    blocks, _ = norms.gram_matrix(np.eye(2))
    assert norms.proved_norm([(blocks, 3.0), (blocks, 0.0)]) >= 2.0
    assert norms.proved_norm([(blocks, float("nan")), (blocks, 0.0)]) == float("inf")


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
@pytest.mark.parametrize("seed", range(200, 215))
def test_norms_with_padding_by_the_map_itself(seed: int, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix: the singular value. The general rules: the library's, which are other code for the same choice."""
    conv, shape = _random_conv(seed)
    padding = np.random.default_rng(seed).integers(0, 6, 4).tolist()
    layer = _as_layer(conv, shape, padding)._replace(mode=mode)
    top, bottom, left, right = padding
    units = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    padded = functional.pad(units, (left, right, top, bottom), mode=mode)
    with torch.no_grad():
        images = functional.conv2d(padded, conv.weight, None, conv.stride, 0, conv.dilation, conv.groups)
    np.testing.assert_allclose(layer.apply(units.numpy(), layer.weight), images.numpy(), atol=1e-14)
    exact = float(torch.linalg.matrix_norm(images.flatten(1), 2))
    assert exact * (1 - 1e-13) <= layer.norm()[0] <= exact * (1 + 1e-6)
    monkeypatch.setattr(convolutions, "SMALL", 0)
    general = general_conv_norm_upper_bound(
        conv.weight,
        input_size=shape[1:],
        stride=(conv.stride[0], conv.stride[1]),
        padding=(top, bottom, left, right),
        dilation=(conv.dilation[0], conv.dilation[1]),
        groups=conv.groups,
        padding_mode=mode,
    )
    assert exact * (1 - 1e-13) <= layer.norm()[0] == pytest.approx(general.value, rel=1e-6)


@pytest.mark.parametrize(
    ("mode", "n", "stride", "padding", "kernel", "norm"),
    [
        ("replicate", 1, 1, [1, 1], [1], 3**0.5),
        ("reflect", 2, 2, [0, 1], [1], 2**0.5),
        ("circular", 2, 2, [2, 2], [1], 3**0.5),
    ],
)
def test_copies_of_a_pixel_count(
    mode: str, n: int, stride: int, padding: list[int], kernel: list[int], norm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers that attain the root of the copies, and would lie above a bound without it."""
    weight = np.array(kernel, np.float64).reshape(1, 1, 1, -1)
    layer = convolutions.Convolution(weight, (1, n), [1, stride], [1, 1], [0, 0, *padding], 1, mode)
    matrix = layer.apply(np.eye(n).reshape(n, 1, 1, n), weight).reshape(n, -1)
    assert np.linalg.norm(matrix, 2) == pytest.approx(norm)
    monkeypatch.setattr(convolutions, "SMALL", 0)
    assert norm * (1 - 1e-14) <= layer.norm()[0] <= norm * (1 + 1e-6)
    monkeypatch.setattr(convolutions, "copies", lambda source, n: 1)
    monkeypatch.setattr(convolutions.Axis, "on_circle", lambda axis: (axis, 1))
    assert layer.norm()[0] < 0.8 * norm


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("n", "stride", "padding", "kernel"),
    [
        (2, 1, [1, 1], [1, 0, -1]),
        (2, 1, [0, 2], [1, 0, -1]),
        (2, 1, [2, 0], [1, 0, -1]),
        (4, 2, [2, 2], [1, 0, 0, 0, -1]),
    ],
)
def test_wrap_around_that_cancels(
    n: int, stride: int, padding: list[int], kernel: list[int], transposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers of norm 1 that vanish on a circle of n pixels: the padding must count, and this test must notice it."""
    weight = np.array(kernel, np.float64).reshape((1, 1, -1, 1) if transposed else (1, 1, 1, -1))
    size, strides = ((n, 1), [stride, 1]) if transposed else ((1, n), [1, stride])
    ends = [*padding, 0, 0] if transposed else [0, 0, *padding]
    layer = convolutions.Convolution(weight, size, strides, [1, 1], ends)
    matrix = layer.apply(np.eye(n).reshape(n, 1, *size), weight).reshape(n, -1)
    assert np.linalg.norm(matrix, 2) == pytest.approx(1.0)
    monkeypatch.setattr(convolutions, "STRIPS_WORK", 0)
    assert layer.norm()[0] >= 1.0
    sound = convolutions.Axis.of
    monkeypatch.setattr(
        convolutions.Axis, "of", lambda *settings: sound(*settings)._replace(grid=-(-settings[1] // stride))
    )
    assert layer.norm()[0] < 0.5


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (40, 12), (64, 64)])
@pytest.mark.parametrize("scale", [1e-170, 1e-3, 1.0, 1e60])
def test_norms_of_matrices(shape: tuple[int, int], scale: float) -> None:
    """Random, orthogonal, of rank one, zero: never below the singular value."""
    random = np.random.default_rng(0).standard_normal(shape)
    u, _, v = np.linalg.svd(random, full_matrices=False)
    for a in (random, u @ v, np.ones(shape), np.zeros(shape), random + 1j * random[::-1]):
        exact = scale * float(np.linalg.norm(a, 2))
        bound = norms.proved_norm([norms.gram_matrix(scale * a)])
        assert exact * (1 - 1e-14) <= bound
        if scale > 1e-100:
            assert bound <= exact * (1 + 1e-6) + 1e-70
