"""Freezing: the plain network is the evaluation function of the trainable model, merged and independent of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.errors import ConfigError, UnsupportedLayerError
from lip_plugin.models import CertifiableModel, LiResNet, LiResNetPP
from lip_plugin.network import Conv

Randn = Callable[..., Tensor]
Randomised = Callable[..., CertifiableModel]
Search = Callable[[Callable[[Tensor], Tensor], Tensor], float]


def _images(model: CertifiableModel, count: int, randn: Randn) -> Tensor:
    return randn(count, *model.input_shape).mul(0.3).add(0.5).clamp(0, 1)


def _assert_frozen_equals_evaluation(model: CertifiableModel, randn: Randn) -> None:
    network = lp.freeze(model)
    x = _images(model, 2, randn)
    with torch.no_grad():
        features, logits = model.eval().features(x), model(x)
    assert torch.allclose(network.features(x), features, rtol=1e-11, atol=1e-12)
    assert torch.allclose(network(x), logits, rtol=1e-11, atol=1e-12)
    assert network.input_shape == model.input_shape
    assert float(features.std()) > 0  # not the zero function


@pytest.mark.parametrize("architecture", [LiResNet, LiResNetPP])
@pytest.mark.parametrize(
    ("size", "channels", "width", "map_sizes"),
    [(28, 1, 4, (14, 14)), (32, 3, 6, (16, 16)), (64, 3, 4, (16, 32)), (224, 3, 48, (56, 56))],
)
def test_published_image_sizes(
    architecture: type[LiResNet] | type[LiResNetPP],
    size: int,
    channels: int,
    width: int,
    map_sizes: tuple[int, int],
    randn: Randn,
    randomised: Randomised,
) -> None:
    """The stems: 5x5 stride 2; 7x7 stride 4 for LiResNet at 64; patches of round(sqrt(width / 3)) at 224."""
    torch.manual_seed(0)
    model = architecture(input_shape=(channels, size, size), num_classes=3, depth=1, width=width, dense_width=4)
    assert model.map_size == map_sizes[architecture is LiResNetPP]
    _assert_frozen_equals_evaluation(randomised(model), randn)


@settings(max_examples=20)
@given(
    plus=st.booleans(),
    size=st.integers(8, 20),
    channels=st.integers(1, 3),
    depth=st.integers(1, 4),
    width=st.sampled_from([2, 4, 6]),
    dense_width=st.sampled_from([2, 8, 40]),
    dense_depth=st.integers(0, 3),
    neck_patch=st.integers(1, 5),
    classes=st.integers(2, 5),
    seed=st.integers(0, 1000),
)
def test_any_size(
    plus: bool,
    size: int,
    channels: int,
    depth: int,
    width: int,
    dense_width: int,
    dense_depth: int,
    neck_patch: int,
    classes: int,
    seed: int,
    randn: Randn,
    randomised: Randomised,
) -> None:
    torch.manual_seed(seed)
    shape = (channels, size, size)
    if plus:
        model: CertifiableModel = LiResNetPP(
            input_shape=shape,
            num_classes=classes,
            depth=depth,
            width=width,
            dense_width=dense_width,
            dense_depth=dense_depth,
            neck_patch=neck_patch,
        )
    else:
        model = LiResNet(input_shape=shape, num_classes=classes, depth=depth, width=width, dense_width=dense_width)
    _assert_frozen_equals_evaluation(randomised(model, seed), randn)


def test_freezing_keeps_float32_and_refuses_half(small_model: CertifiableModel, randn: Randn) -> None:
    network = lp.freeze(small_model.float())
    assert network.dtype == torch.float32
    x = _images(small_model, 2, randn).float()
    with torch.no_grad():
        assert torch.allclose(network(x), small_model.eval()(x), atol=1e-5)
    with pytest.raises(UnsupportedLayerError, match=r"dtype|float32 or float64"):
        lp.freeze(small_model.bfloat16())


def test_merged_kernel_is_identity_plus_branch(small_model: CertifiableModel, randn: Randn) -> None:
    """The one convolution of a block against x + L^{-1/2} gamma * conv(x, K) + b in two steps."""
    stack = small_model.get_submodule("backbone")
    assert isinstance(stack.weights, Tensor) and isinstance(stack.gamma, Tensor)
    assert isinstance(stack.bias, Tensor) and isinstance(stack.running_mean, Tensor)
    convs = [op for op in lp.freeze(small_model).operators if isinstance(op, Conv)][1:3]
    x = randn(2, 4, 7, 7)
    for block, conv in enumerate(convs):
        branch = 2**-0.5 * stack.gamma[block].view(-1, 1, 1) * F.conv2d(x, stack.weights[block], padding=1)
        shift = stack.bias[block] - (stack.running_mean[block] if isinstance(small_model, LiResNetPP) else 0)
        assert torch.allclose(conv.apply(x), x + branch + shift.view(-1, 1, 1), rtol=1e-12, atol=1e-12)


def test_hooks_and_foreign_models_are_refused(small_model: CertifiableModel) -> None:
    handle = small_model.get_submodule("stem.conv").register_forward_hook(lambda module, args, output: None)
    with pytest.raises(UnsupportedLayerError, match=r"stem\.conv .*hooks"):
        lp.freeze(small_model)
    handle.remove()
    small_model.head.forward = small_model.head.forward
    with pytest.raises(UnsupportedLayerError, match=r"head .*replaced forward"):
        lp.freeze(small_model)
    with pytest.raises(UnsupportedLayerError, match=r"lp\.wrap"):
        lp.freeze(nn.Linear(2, 2))


@pytest.mark.parametrize("architecture", [LiResNet, LiResNetPP])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 5}, "width must be even and at least 2.*got 5"),
        ({"width": 0}, "width must be even"),
        ({"dense_width": 7}, "dense_width must be even.*got 7"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"input_shape": (1, 28, 32)}, "not square"),
    ],
)
def test_sizes_that_do_not_work_are_refused(
    architecture: type[LiResNet] | type[LiResNetPP], change: dict[str, int], words: str
) -> None:
    sizes = {"input_shape": (1, 28, 28), "num_classes": 3, "depth": 1, "width": 4, "dense_width": 6, **change}
    with pytest.raises(ConfigError, match=words):
        architecture(**sizes)  # pyright: ignore[reportArgumentType]


def test_an_image_too_small_for_the_neck_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 4x4, got 3"):
        LiResNet(input_shape=(1, 6, 6), num_classes=3, depth=1, width=4, dense_width=6)


def test_bound_is_above_every_pair_found(
    small_model: CertifiableModel, randn: Randn, searched_lipschitz: Search
) -> None:
    """Gradient-searched pairs reach a good part of the product, and never exceed it."""
    network = lp.freeze(small_model)
    bound = lp.lipschitz_upper_bound(network)
    found = searched_lipschitz(network.features, _images(small_model, 4, randn))
    assert 0.1 * bound.value < found <= bound.value
    pairs = lp.pair_lipschitz_upper_bound(network)
    for i, j in [(0, 1), (1, 3), (2, 0)]:

        def difference(x: Tensor, i: int = i, j: int = j) -> Tensor:
            logits = network(x)
            return logits[:, i : i + 1] - logits[:, j : j + 1]

        assert 0 < searched_lipschitz(difference, _images(small_model, 4, randn)) <= float(pairs[i, j])
    assert torch.equal(pairs, pairs.T)
    assert not pairs.diagonal().any()
