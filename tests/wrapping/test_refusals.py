"""Forwards that are no one function of the image: random, changing, or of one batch size. Each is told what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lip_plugin as lp

SHAPE = (1, 4, 4)


class _Own(nn.Module):
    """A linear layer after a forward of one's own, with a counter."""

    calls: Tensor

    def __init__(self, forward: Callable[[_Own, Tensor], Tensor]) -> None:
        super().__init__()
        self.own = forward
        self.last = nn.Linear(16, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.count = 0
        self.seen: dict[str, list[int]] = {"sizes": []}

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.own(self, x).flatten(1))


def _counts(module: _Own, x: Tensor) -> Tensor:
    module.calls += 1
    return x


def _counts_without_a_tensor(module: _Own, x: Tensor) -> Tensor:
    module.count += 1
    return x


def _scales_by_its_counter(module: _Own, x: Tensor) -> Tensor:
    module.calls = module.calls + 1
    return x * module.calls


def _counts_in_a_list(module: _Own, x: Tensor) -> Tensor:
    module.seen["sizes"].append(len(x))
    return x


def _branches_and_catches(module: _Own, x: Tensor) -> Tensor:
    """Only far from random images, and not where the question is refused."""
    try:
        if x.flatten(1).max() > 100:
            return -x
    except Exception:
        pass
    return x


def _falls_back(module: _Own, x: Tensor) -> Tensor:
    try:
        return torch.nan_to_num(x)
    except Exception:
        return x


REFUSED: dict[str, tuple[Callable[[_Own, Tensor], Tensor], str]] = {
    "dropout that stays on": (lambda _, x: F.dropout(x, 0.5, training=True), "random|training"),
    "dropout of maps that stays on": (lambda _, x: F.dropout2d(x, 0.5, training=True), "random|training"),
    "noise": (lambda _, x: x + 0.1 * torch.randn(1, 4, 4), "draws random numbers .* take them out"),
    "noise like the image": (lambda _, x: x + torch.rand_like(x), "rand_like|random"),
    "a random scale": (lambda _, x: x * torch.rand(()), "draws random numbers .* take them out"),
    "a counter": (_counts, "changes its calls .* take it out"),
    "a counter that is no tensor": (_counts_without_a_tensor, "changes its count .* take it out"),
    "a list that grows": (_counts_in_a_list, "changes its seen .* take it out"),
    "a branch that catches": (_branches_and_catches, "extreme of all entries"),
    "a way around what is refused": (_falls_back, "nan_to_num"),
    "noise of NumPy": (lambda _, x: x + 1e-5 * float(np.random.rand()), "draws random numbers .* take them out"),
    "a scale that grows": (_scales_by_its_counter, "changes its calls .* take it out"),
    "one batch size": (lambda _, x: x.reshape(4, 16), "reshape"),
    "a limit by the batch size": (lambda _, x: x.clamp(-50.0 * len(x), 50.0 * len(x)), "another function"),
    "images far out mixed": (lambda _, x: x + F.relu(torch.roll(2.0 * x, 7, 0) - 50.0), "another function"),
    "a summand for each of three images": (lambda _, x: x + torch.ones(3, 1, 1, 1), "joins numbers of shape"),
    "the mean of the batch": (lambda _, x: x - x.mean(0, keepdim=True), "mean over dimensions"),
    "images side by side": (lambda _, x: x.roll(1, 0), "image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_one_function_of_the_image_is_refused(name: str) -> None:
    forward, words = REFUSED[name]
    torch.manual_seed(0)
    with pytest.raises(lp.UnsupportedLayerError, match=words) as caught:
        lp.wrap(_Own(forward).eval(), input_shape=SHAPE)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("module")


def test_a_buffer_that_stays_is_a_fixed_number() -> None:
    module = _Own(lambda module, x: x + module.calls + 2.0).eval()
    bound = lp.lipschitz_upper_bound(module, input_shape=SHAPE).value
    exact = float(torch.linalg.svdvals(module.last.weight.detach().double())[0])
    assert exact <= bound <= exact * (1 + 1e-6)


def test_attributes_that_stay_are_no_change() -> None:
    module = _Own(lambda module, x: x).eval()
    module.seen = {"sizes": [1, 2], "best": [float("nan")]}  # pyright: ignore[reportAttributeAccessIssue]
    module.count = float("nan")  # pyright: ignore[reportAttributeAccessIssue]
    assert lp.wrap(module, input_shape=SHAPE).num_classes == 3


def test_a_padded_pool_after_the_last_convolution_is_not_moved_before_it() -> None:
    """The pool averages the bias with zeros, which a head after the pool would not."""
    conv, pool = nn.Conv2d(1, 3, 1), nn.AvgPool2d(4, padding=1)
    module = nn.Sequential(conv, pool, nn.Flatten()).eval()
    with torch.no_grad():
        assert conv.bias is not None
        conv.bias.copy_(torch.tensor([1e-7, 0.0, -1e-7]))  # too small for a comparison on images to show
        logits = lp.wrap(module, input_shape=(1, 2, 2))(torch.zeros(1, 1, 2, 2))
    assert torch.allclose(logits[0, 0] - logits[0, 2], torch.tensor(2e-7 * 4 / 16), rtol=1e-3)
