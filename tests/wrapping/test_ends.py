"""How networks end: logits however they come about, probabilities, and what is no classifier."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lip_plugin as lp

SHAPE = (3, 8, 8)


class _Then(nn.Module):
    """A function of what other modules give for the same images."""

    def __init__(self, function: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)
        self._function = [function]

    def forward(self, x: Tensor) -> Tensor:
        return self._function[0](*(part(x) for part in self.parts))


def _network(classes: int = 5) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, classes))


def _convolutional(*end: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *end)


LOGITS: dict[str, Callable[[], nn.Module]] = {
    "mean of two": lambda: _Then(lambda a, b: (a + b) / 2, _network(), _network()),
    "some classes": lambda: _Then(lambda a: a[:, [4, 0, 2]], _network()),
    "a convolution as large as the map": lambda: _convolutional(nn.Conv2d(4, 5, 8)),
    "means of a convolution": lambda: _convolutional(nn.Conv2d(4, 5, 3, padding=1), nn.AdaptiveAvgPool2d(1)),
    "means after batch norm": lambda: _convolutional(
        nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "a residual block": lambda: _Then(lambda a: a + torch.ones(5), _network()),
}


def _steepest(module: nn.Module, x: Tensor) -> Tensor:
    """(B, K, D) Jacobians."""
    rows = [torch.autograd.functional.jacobian(lambda one: module(one).flatten(), image[None]) for image in x]  # type: ignore[misc]
    return torch.stack([row.flatten(1) for row in rows])


@pytest.mark.parametrize("name", LOGITS)
def test_logits_however_they_come_about(name: str) -> None:
    torch.manual_seed(0)
    module = LOGITS[name]().eval()
    x = torch.rand(4, *SHAPE)
    model = lp.wrap(module, input_shape=SHAPE)
    assert torch.allclose(model(x), module(x).flatten(1), atol=1e-5)
    bound, steep = lp.pair_lipschitz_upper_bound(model), _steepest(module, x)
    for i in range(len(bound)):
        for j in range(i):
            assert (steep[:, i] - steep[:, j]).norm(dim=1).max() <= float(bound[i, j]) * (1 + 1e-5)


@pytest.mark.parametrize("end", [nn.LogSoftmax(1), nn.Softmax(-1)])
def test_probabilities_at_the_end_are_left_out_and_said(end: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    network = _network().eval()
    bare = lp.wrap(network, input_shape=SHAPE)
    with caplog.at_level(logging.WARNING):
        model = lp.wrap(nn.Sequential(network, end).eval(), input_shape=SHAPE)
    assert "which is left out: the frozen network gives logits" in caplog.text
    x = torch.rand(8, *SHAPE)
    assert torch.equal(model(x), bare(x))
    assert torch.equal(lp.certify(model, x).prediction, end(network(x)).argmax(1))
    assert torch.equal(lp.pair_lipschitz_upper_bound(model), lp.pair_lipschitz_upper_bound(bare))


NO_CLASSIFIER: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "several numbers for a class": (
        lambda: nn.Sequential(_network(10), nn.Unflatten(1, (2, 5))),
        "gives (2, 5) numbers",
    ),
    "features": (lambda: _convolutional(nn.Flatten()), "give it as head="),
    "features of a linear layer": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), "give it as head="),
    "more after probabilities": (lambda: _Then(lambda a: F.softmax(a, 1) * 2, _network()), "goes on after softmax"),
    "probabilities in a list": (
        lambda: _Then(lambda a: torch.cat([F.log_softmax(a, 1)], 1), _network()),
        "goes on after log_softmax",
    ),
    "probabilities by name": (
        lambda: _Then(lambda a: torch.neg(input=F.softmax(a, 1)), _network()),  # pyright: ignore[reportCallIssue]
        "goes on after softmax",
    ),
    "probabilities over a map": (lambda: nn.Sequential(nn.Softmax(1), _network()), "leave it out"),
}


@pytest.mark.parametrize("name", NO_CLASSIFIER)
def test_what_is_no_classifier_is_told_the_way(name: str) -> None:
    make, words = NO_CLASSIFIER[name]
    with pytest.raises(lp.UnsupportedLayerError) as caught:
        lp.wrap(make().eval(), input_shape=SHAPE)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bound_of_probabilities_alone_is_refused() -> None:
    with pytest.raises(lp.UnsupportedLayerError, match="ends in softmax; leave it out"):
        lp.lipschitz_upper_bound(nn.Softmax(1).eval(), input_shape=(5,))  # type: ignore[arg-type]
