"""Which modules `lp.wrap` takes for which layers: exact classes, and attributes as torch's forward reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp

from .closed_form import SHAPE, images, modules, numbers


def _quantised(features: nn.Sequential, head: nn.Linear) -> tuple[Any, Any]:
    quantise: Any = torch.ao.quantization.quantize_dynamic  # pyright: ignore[reportDeprecated]
    return features, quantise(nn.Sequential(head), {nn.Linear}, dtype=torch.qint8)[0].eval()


def _renamed(features: nn.Sequential, head: nn.Linear) -> tuple[Any, Any]:
    """An instance whose class is exchanged for one that computes something else."""

    class Linear(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return -super().forward(input)

    head.__class__ = Linear
    return features, head


def _own_convolution(features: nn.Sequential, head: nn.Linear) -> tuple[Any, Any]:
    class Conv2d(nn.Conv2d):
        def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return 3 * super()._conv_forward(input, weight, bias)

    features[0].__class__ = Conv2d
    return features, head


FOREIGN: dict[str, tuple[Callable[[nn.Sequential, nn.Linear], tuple[Any, Any]], str]] = {
    "quantised head": (_quantised, "head is Linear; expected torch.nn.Linear exactly"),
    "head of another class": (_renamed, "head is Linear; expected torch.nn.Linear exactly"),
    "script": (lambda features, head: (torch.jit.script(features).eval(), head), "RecursiveScriptModule"),
    "data parallel": (lambda features, head: (nn.DataParallel(features).eval(), head), "DataParallel, which has no"),
    "data parallel head": (lambda features, head: (features, nn.DataParallel(head).eval()), "head is DataParallel"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore:.*torch.ao.quantization", "ignore:.*TypedStorage")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # once per process, whichever test comes first
def test_modules_of_other_classes_are_refused(name: str) -> None:
    replace, words = FOREIGN[name]
    features, head = replace(*modules(numbers()))
    with pytest.raises(lp.UnsupportedLayerError, match=words):
        lp.wrap(features, head, input_shape=SHAPE)


OWN: dict[str, Callable[[nn.Sequential, nn.Linear], tuple[Any, Any]]] = {
    "_conv_forward of a subclass": _own_convolution,
    "graph": lambda features, head: (torch.fx.symbolic_trace(features).eval(), head),
}


@pytest.mark.parametrize("name", OWN)
def test_a_forward_of_their_own_is_read_as_it_is(name: str) -> None:
    features, head = OWN[name](*modules(numbers()))
    found = lp.wrap(features, head, input_shape=SHAPE)(images())
    assert torch.allclose(found, head(features(images())), rtol=1e-5, atol=1e-6)


# --- attributes that torch's forward does not read, or reads in its own way ---


def _norm(alter: Callable[[nn.BatchNorm2d], object], *, affine: bool = True) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(1, affine=affine)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.fill_(0.3)
    norm.running_var.fill_(4.0)
    if affine:
        norm.weight.data.fill_(5.0)
        norm.bias.data.fill_(0.2)
    alter(norm)
    return norm


def _strided(stride: Any) -> nn.Conv2d:
    conv = nn.Conv2d(1, 2, 2)
    conv.stride = stride
    return conv


READ: dict[str, Callable[[], nn.Module]] = {
    "affine switched off": lambda: _norm(lambda norm: setattr(norm, "affine", False)),
    "affine switched on": lambda: _norm(lambda norm: setattr(norm, "affine", True), affine=False),
    "norm without bias": lambda: _norm(lambda norm: setattr(norm, "bias", None)),
    "norm without weight": lambda: _norm(lambda norm: setattr(norm, "weight", None)),
    "statistics no longer tracked": lambda: _norm(lambda norm: setattr(norm, "track_running_stats", False)),
    "one stride for both": lambda: _strided((2,)),
    "stride as a number": lambda: _strided(2),
    "one pool size for both": lambda: nn.AvgPool2d((2,)),  # pyright: ignore[reportArgumentType]
    "one window for both": lambda: nn.MaxPool2d([2]),  # pyright: ignore[reportArgumentType]
    "sizes in a list": lambda: nn.MaxPool2d([2, 2]),  # pyright: ignore[reportArgumentType]
}


@pytest.mark.parametrize("name", READ)
def test_attributes_are_read_as_torch_reads_them(name: str) -> None:
    torch.manual_seed(0)
    features = nn.Sequential(READ[name](), nn.Flatten()).eval()
    with torch.no_grad():
        head = nn.Linear(features(images()).shape[1], 3).eval()
        expected = head(features(images()))
    found = lp.wrap(features, head, input_shape=SHAPE)(images())
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_list_of_three_sizes_is_refused() -> None:
    pool = nn.AvgPool2d((2, 2, 2))  # pyright: ignore[reportArgumentType]
    features, head = nn.Sequential(pool, nn.Flatten()).eval(), nn.Linear(4, 3).eval()
    with pytest.raises(lp.UnsupportedLayerError, match=r"features\.0: expected one or two sizes"):
        lp.wrap(features, head, input_shape=SHAPE)
