"""Parts of a frozen network exchanged behind its back: what would run, count or be saved as another one is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lip_plugin as lp
from lip_plugin.errors import LipPluginError
from lip_plugin.network import Activation, Dense

from .closed_form import ask, assert_refused, assert_runs, assert_true, held_by, images, network, numbers, truth

Exchange = Callable[[lp.CertifiedClassifier], object]


def _zeros(*arguments: Any, **settings: Any) -> Tensor:
    return torch.zeros(4, 3)


def _attribute(name: str, value: Any) -> Exchange:
    return lambda model: model.__dict__.update({name: value})


def _of_operator(index: int, name: str, value: Any) -> Exchange:
    return lambda model: object.__setattr__(model.layers[index], name, value)


def _other_layers(model: lp.CertifiedClassifier) -> None:
    model.__dict__["_layers"] = network(numbers(5)).layers


def _other_buffer(model: lp.CertifiedClassifier) -> None:
    model._buffers["00_weight"] = model.get_buffer("00_weight") * 2  # pyright: ignore[reportPrivateUsage]


def _scaled_through_a_shallow_copy(model: lp.CertifiedClassifier) -> None:
    """The copy shares the table of buffers, not the operators."""
    copy.copy(model)._apply(lambda value: value * 2)  # pyright: ignore[reportPrivateUsage]


def _unlike_its_buffers(model: lp.CertifiedClassifier, x: Tensor) -> bool:
    """Whether ``model(x)`` is not the function of the numbers that its buffers hold, which saving writes."""
    return not np.allclose(model(x).detach().numpy(), truth(held_by(model), x).logits, atol=1e-2)


ANOTHER_FUNCTION: dict[str, tuple[Exchange, str]] = {
    "forward": (_attribute("forward", _zeros), "replaced forward"),
    "features": (_attribute("features", lambda x: torch.zeros(4, 8)), "replaced features"),
    "_call_impl": (_attribute("_call_impl", _zeros), "replaced _call_impl"),
    "_compiled_call_impl": (_attribute("_compiled_call_impl", _zeros), "replaced call"),
    "apply of an operator": (_of_operator(1, "apply", lambda x: -x), "altered operator, layer 1"),
    "apply of the head": (_of_operator(3, "apply", lambda x: torch.zeros(4, 3)), "altered operator, layer 3"),
    "weight of an operator": (_of_operator(3, "weight", torch.ones(3, 8)), "other weights than its buffer 03_weight"),
    "no bias": (_of_operator(3, "bias", None), "other weights than its buffer 03_bias"),
    "all layers": (_other_layers, "other weights than its buffer"),
    "a buffer": (_other_buffer, "other weights than its buffer 00_weight"),
    "the buffers of a shallow copy": (_scaled_through_a_shallow_copy, "other weights than its buffer"),
}


@pytest.mark.parametrize("name", ANOTHER_FUNCTION)
def test_a_network_that_runs_something_else_is_refused(name: str, tmp_path: Path) -> None:
    exchange, words = ANOTHER_FUNCTION[name]
    model, x = network(numbers()), images()
    assert not _unlike_its_buffers(model, x)
    exchange(model)
    assert _unlike_its_buffers(model, x), "the case must matter"
    assert_refused(model, x, words, tmp_path)


OTHER_BOOKS: dict[str, tuple[Exchange, str]] = {
    # What digests, bounds and files are made from, rather than what runs.
    "digest": (_attribute("digest", "0" * 64), "replaced digest"),
    "buffers": (_attribute("buffers", lambda: iter(())), "replaced buffers"),
    "named_buffers": (_attribute("named_buffers", lambda *_, **__: iter(())), "replaced named_buffers"),
    "copied": (_attribute("copied", lambda: network(numbers(5))), "replaced copied"),
    "save": (_attribute("save", lambda directory: None), "replaced save"),
    "rounding of an operator": (_of_operator(0, "rounding_term", None), "altered operator, layer 0"),
    "bound of an operator": (_of_operator(0, "lipschitz_upper_bound", None), "altered operator, layer 0"),
    "kind of an operator": (_of_operator(0, "kind", "dense"), "altered operator, layer 0"),
    "shapes": (_attribute("_shapes", ((1, 4, 4),) * 4 + ((3,),)), "other shapes"),
    "input shape": (_attribute("_input_shape", (1, 5, 5)), "other shapes"),
    "another input shape": (_attribute("_input_shape", (1, 9, 9)), "does not fit together"),
    "dtype": (_attribute("_dtype", torch.float64), "in another dtype"),
    "an extra buffer": (
        lambda model: model._buffers.update({"09_weight": torch.ones(3)}),  # pyright: ignore[reportPrivateUsage]
        "other weights than its buffer 09_weight",
    ),
    "no head": (lambda model: model.__dict__.update(_layers=(*model.operators, _dense(model))), "its only head"),
    "nothing": (_attribute("_layers", ()), "its only head"),
    "a foreign operator": (
        lambda model: model.__dict__.update(_layers=(*model.operators[:1], _louder(), *model.layers[2:])),
        "foreign or altered operator, layer 1",
    ),
}


def _dense(model: lp.CertifiedClassifier) -> Dense:
    return Dense(model.head.weight, model.head.bias)


def _louder() -> Activation:
    return type("Louder", (Activation,), {"apply": lambda self, x: 50 * x})("relu")


@pytest.mark.parametrize("name", OTHER_BOOKS)
def test_a_network_with_other_books_is_refused(name: str, tmp_path: Path) -> None:
    exchange, words = OTHER_BOOKS[name]
    model = network(numbers())
    exchange(model)
    for query in (lambda: ask(model, images()), lambda: lp.CertifiedClassifier.save(model, tmp_path / "model")):
        with pytest.raises(lp.ConfigError, match=words):
            query()
    assert list(tmp_path.iterdir()) == []


def test_a_setting_changed_in_place_is_certified_as_what_it_is_now() -> None:
    """|x| instead of ReLU: another digest, and on images whose activations are all negative another function."""
    given = {**numbers(), "00_bias": np.array([-9.0, -9.0])}
    model, x = network(given), images()
    assert_true(ask(model, x), given, x)
    before = lp.certify(model, x)
    object.__setattr__(model.layers[1], "function", "abs")
    flipped = {**given, "00_weight": -given["00_weight"], "00_bias": -given["00_bias"]}  # |a| = relu(-a) where a < 0
    said = ask(model, x)
    assert said.certificate.digest != before.digest
    assert_runs(model, flipped, x)
    assert_true(said, flipped, x)


def test_a_shadow_of_a_buffer_changes_neither_the_function_nor_what_is_saved(tmp_path: Path) -> None:
    """An instance attribute of a buffer's name is what ``getattr`` finds first."""
    given, x = numbers(), images()
    model = network(given)
    model.__dict__["00_weight"] = torch.zeros(2, 1, 2, 2)
    assert_runs(model, given, x)
    assert_true(ask(model, x), given, x)
    model.save(tmp_path / "model")
    assert_true(ask(lp.load_model(tmp_path / "model"), x), given, x)
    model._apply(lambda value: value.clone())  # pyright: ignore[reportPrivateUsage]  binds the operators anew
    with pytest.raises(lp.ConfigError, match="other weights than its buffer 00_weight"):
        lp.certify(model, x)


def test_a_foreign_tensor_type_cannot_be_frozen() -> None:
    class Doubling(Tensor):
        pass

    model = network(numbers())
    for value in (model.head_weight.as_subclass(Doubling), model.head_weight.to_sparse(), model.head_weight.to("meta")):
        head = type(model.head)(value)
        with pytest.raises(lp.UnsupportedLayerError, match=r"layer 3 \(head\): weight is a tensor"):
            lp.CertifiedClassifier(model.operators, head, input_shape=(1, 4, 4))


class Wrapper(nn.Module):
    """Anything that holds a frozen network and runs it in its own way."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.module = model

    def forward(self, x: Tensor) -> Tensor:
        return -self.module(x)


@pytest.mark.parametrize("wrap", [Wrapper, nn.DataParallel, nn.Sequential], ids=["own", "DataParallel", "Sequential"])
def test_a_module_around_a_network_is_not_the_network(wrap: Callable[[nn.Module], nn.Module], tmp_path: Path) -> None:
    model, x = network(numbers()), images()
    around: Any = wrap(model)
    for query in (lambda: lp.certify(around, x), lambda: lp.predict(around, x, eps=0.1)):
        with pytest.raises(lp.ConfigError, match="is not a CertifiedClassifier"):
            query()
    with pytest.raises(LipPluginError, match=r"no operator|input_shape is missing"):
        lp.lipschitz_upper_bound(around)
    with pytest.raises(lp.UnsupportedLayerError, match="cannot be frozen"):
        lp.freeze(around)
    last = nn.Linear(3, 2).eval()
    if isinstance(around, nn.DataParallel):
        with pytest.raises(lp.UnsupportedLayerError, match="has no operator; give the network inside"):
            lp.wrap(around.eval(), last, input_shape=(1, 4, 4))
    else:  # read as what it computes: a network of its own
        torch.testing.assert_close(lp.wrap(around.eval(), last, input_shape=(1, 4, 4))(x), last(around(x)))
    assert_true(ask(model, x), numbers(), x)
