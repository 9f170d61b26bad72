"""Which tensors count as images: those that are nothing but their numbers, in whatever layout and precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import lip_plugin as lp

from .closed_form import EPS, QUERIES, NoAttack, ask, assert_true, images, network, numbers


class Dimmed(Tensor):
    """Images that arrive darker than they are: an operation of their own choice is another one."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})
        return result * 0 if func in (torch.Tensor.double, torch.Tensor.to) else result


class Named(Tensor):
    """A harmless subclass, which nobody checks either."""


REFUSED: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "subclass": (lambda x: x.as_subclass(Dimmed), "foreign tensor type Dimmed"),
    "harmless subclass": (lambda x: x.as_subclass(Named), "foreign tensor type Named"),
    "fake": (lambda x: FakeTensorMode().from_tensor(x), "foreign tensor type FakeTensor"),
    "sparse": (torch.Tensor.to_sparse, "stored as torch.sparse_coo"),
    "oneDNN": (torch.Tensor.to_mkldnn, "stored as torch._mkldnn"),
    "nested": (lambda x: torch.nested.nested_tensor(list(x)), "stored as a nested tensor"),
    "jagged": (
        lambda x: torch.nested.nested_tensor(list(x), layout=torch.jagged),
        "foreign tensor type NestedTensor",
    ),
    "meta": (lambda x: x.to("meta"), "on the meta device"),
    "no meta images": (lambda x: x[:0].to("meta"), "on the meta device"),
    "quantised": (lambda x: torch.quantize_per_tensor(x, 1 / 256, 0, torch.quint8), "expected floating pixels"),
    "complex": (lambda x: x + 0j, "expected floating pixels"),
    "integer": (torch.Tensor.long, "expected floating pixels"),
    "bytes": (lambda x: (255 * x).byte(), "expected floating pixels"),
    "float8": (lambda x: x.to(torch.float8_e4m3fn), "expected floating pixels"),
    "boolean": (lambda x: x > 0.5, "expected floating pixels"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:.*quantize_per_tensor")
def test_images_that_are_no_plain_numbers_are_refused(name: str) -> None:
    convert, words = REFUSED[name]
    model, x = network(numbers()), convert(images())
    for query, ask_for in QUERIES.items():
        if "lipschitz" not in query:
            with pytest.raises(lp.DataError, match=words):
                ask_for(model, x)


def test_a_subclass_would_have_mattered() -> None:
    """The pixels that such images show to torch are not those that they hold."""
    x = images()
    assert not torch.equal(x.as_subclass(Dimmed).double().as_subclass(Tensor), x.double())


def _every_other(x: Tensor) -> Tensor:
    wide = torch.zeros(4, 3, 8, 8, dtype=x.dtype)
    wide[:, 1:2, ::2, 1::2] = x
    return wide[:, 1:2, ::2, 1::2]


def _in_inference_mode(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return x.clone()


def _of_a_graph(x: Tensor) -> Tensor:
    return x.clone().requires_grad_() * 1.0


PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "gradients wanted": lambda x: x.clone().requires_grad_(),
    "in a graph": _of_a_graph,
    "parameter": nn.Parameter,
    "inference": _in_inference_mode,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": _every_other,
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "flipped": lambda x: x.flip(0).flip(0),
    "negated view": lambda x: torch.complex(x, -x).conj().imag,
    "real part": lambda x: torch.complex(x, x).real,
    "float16": torch.Tensor.half,
    "bfloat16": torch.Tensor.bfloat16,
    "float64": torch.Tensor.double,
    "read-only memory": lambda x: torch.from_dlpack(x),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PLAIN)
def test_the_same_numbers_have_the_same_certificate(name: str, dtype: torch.dtype) -> None:
    """The pixels are multiples of 2^-8, which every format here holds exactly."""
    given, x = numbers(), images(dtype)
    converted = PLAIN[name](x)
    before = converted.detach().double().clone()
    said = ask(network(given, dtype), converted)
    assert_true(said, given, x)
    assert not said.certificate.radius.requires_grad and not said.label.requires_grad
    assert torch.equal(converted.detach().double(), before)


def test_one_image_seen_many_times_without_memory_of_its_own() -> None:
    given, x = numbers(), images()[:1]
    said = ask(network(given), x.expand(5, 1, 4, 4))
    assert_true(said, given, x.repeat(5, 1, 1, 1))


@pytest.mark.parametrize(
    "labels",
    [
        torch.zeros(4, dtype=torch.int64).as_subclass(Dimmed),
        torch.zeros(4, dtype=torch.int64, device="meta"),
        torch.zeros(4, dtype=torch.int64).to_sparse(),
    ],
    ids=["subclass", "meta", "sparse"],
)
def test_labels_that_are_no_plain_numbers_are_refused(labels: Tensor) -> None:
    with pytest.raises(lp.DataError, match="labels are a tensor"):
        lp.compare(network(numbers()), images(), labels, eps=EPS, attacks=[NoAttack()], audit=0)
