"""Cards that lie, overflow, repeat themselves or are no cards: one line each, never a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lip_plugin as lp

Refused = Callable[..., str]
Card = dict[str, Any]


def _conv(card: Card) -> Card:
    return next(layer for layer in card["network"] if layer["kind"] == "conv")


def _proved(shares: object) -> Card:
    return {"verified_robust_accuracy": shares}


def _pool(card: Card) -> Card:
    return next(layer for layer in card["network"] if layer["kind"] == "avg_pool")


TAMPERED: dict[str, tuple[Callable[[Card], object], str]] = {
    "unknown key": (lambda card: card.update(weights="../../weights"), "weights"),
    "url for weights": (lambda card: card.update(url="https://example.org/model.safetensors"), "url"),
    "unknown key in a layer": (lambda card: _conv(card).update(code="print()"), "code"),
    "unknown kind": (lambda card: _conv(card).update(kind="lambda"), "unknown operator kind"),
    "kind with an escape sequence": (lambda card: _conv(card).update(kind="\x1b[2J"), "control characters"),
    "kind of a private class": (lambda card: _conv(card).update(kind="_Pool"), "unknown operator kind"),
    "other schema": (lambda card: card.update(schema="lip-card/2"), "schema"),
    "other threat model": (lambda card: card.update(threat_model="Linf"), "threat_model"),
    "half precision": (lambda card: card.update(dtype="float16"), "dtype"),
    "one class": (lambda card: card.update(num_classes=1), "num_classes"),
    "more classes than rows": (lambda card: card.update(num_classes=4), "4 classes"),
    "classes as text": (lambda card: card.update(num_classes="3"), "num_classes"),
    "classes as a float": (lambda card: card.update(num_classes=3.0), "num_classes"),
    "other count of parameters": (lambda card: card.update(params=card["params"] + 1), "parameters"),
    "count of parameters as a flag": (lambda card: card.update(params=True), "params"),
    "absurd count of parameters": (lambda card: card.update(params=2**60), "parameters"),
    "digest of another network": (lambda card: card.update(digest="0" * 64), "digest"),
    "digest that is none": (lambda card: card.update(digest="0" * 63 + "\n"), "digest"),
    "digest in capitals": (lambda card: card.update(digest=card["digest"].upper()), "digest"),
    "zero input": (lambda card: card.update(input_shape=[2, 0, 6]), "input_shape"),
    "negative input": (lambda card: card.update(input_shape=[2, -6, -6]), "input_shape"),
    "input of four dimensions": (lambda card: card.update(input_shape=[1, 2, 6, 6]), "input_shape"),
    "input of another size": (lambda card: card.update(input_shape=[2, 9, 9]), "operator list"),
    "terabytes of input": (lambda card: card.update(input_shape=[2, 2**20, 2**20]), "input asks for"),
    "input beyond 64 bits": (lambda card: card.update(input_shape=[2, 2**62, 2**62]), "input asks for"),
    "no groups": (lambda card: _conv(card)["settings"].update(groups=0), "groups"),
    "negative groups": (lambda card: _conv(card)["settings"].update(groups=-1), "groups"),
    "groups that do not divide": (lambda card: _conv(card)["settings"].update(groups=3), "3 groups"),
    "huge groups": (lambda card: _conv(card)["settings"].update(groups=2**62), "groups"),
    "no stride": (lambda card: _conv(card)["settings"].update(stride=[0, 0]), "stride"),
    "negative stride": (lambda card: _conv(card)["settings"].update(stride=[-1, 1]), "stride"),
    "huge stride": (lambda card: _conv(card)["settings"].update(stride=[2**62, 1]), "stride"),
    "no dilation": (lambda card: _conv(card)["settings"].update(dilation=[0, 1]), "dilation"),
    "huge dilation": (lambda card: _conv(card)["settings"].update(dilation=[2**62, 1]), "dilation"),
    "negative padding": (lambda card: _conv(card)["settings"].update(padding=[-1, 0, 0, 0]), "padding"),
    "huge padding": (lambda card: _conv(card)["settings"].update(padding=[2**40] * 4), "padding"),
    "padding of gigabytes": (lambda card: _conv(card)["settings"].update(padding=[1024] * 4), "pixels"),
    "pool without stride": (lambda card: _pool(card)["settings"].update(stride=[0, 0]), "stride"),
    "pool of padding": (lambda card: _pool(card)["settings"].update(padding=[500, 500]), "padding"),
    "pool larger than the map": (lambda card: _pool(card)["settings"].update(kernel=[9, 9]), "leaves nothing"),
    "nested stride": (lambda card: _conv(card)["settings"].update(stride=[[1], [1]]), "stride"),
    "stride as an object": (lambda card: _conv(card)["settings"].update(stride={"0": 1}), "stride"),
    "setting of another name": (lambda card: _conv(card)["settings"].update(__class__="Head"), "__class__"),
    "tensor as a setting": (lambda card: _conv(card)["settings"].update(weight=[[1.0]]), "weight"),
    "tensor under a path": (lambda card: _conv(card)["tensors"].update(weight="../../../etc/passwd"), "etc/passwd"),
    "two operators on one tensor": (lambda card: card["network"][3]["tensors"].update(weight="01_weight"), "only in"),
    "absurdly many operators": (lambda card: card.update(network=card["network"] * 1000), "network"),
    "no operators": (lambda card: card.update(network=[]), "only in"),
    "operators as an object": (lambda card: card.update(network={"0": {}}), "network"),
    "negative eps": (lambda card: card.update(eps_grid=[-0.1]), "eps_grid"),
    "huge eps": (lambda card: card.update(eps_grid=[1e300]), "eps_grid"),
    "absurdly many eps": (lambda card: card.update(eps_grid=[0.1] * 1000), "eps_grid"),
    "eps as text": (lambda card: card.update(eps_grid=["0.1"]), "eps_grid"),
    "negative training eps": (lambda card: card.update(eps_train=-1), "eps_train"),
    "figures as text": (lambda card: card.update(measured="100 %"), "measured"),
    "more than all": (
        lambda card: card.update(measured={"clean_accuracy": 101}),
        "card.json: measured/clean_acc",
    ),
    "absurd accuracy": (lambda card: card.update(measured={"clean_accuracy": 1e308}), "measured/clean_accuracy"),
    "accuracy as text": (lambda card: card.update(reported={"clean_accuracy": "88"}), "reported/clean_accuracy"),
    "accuracy as a flag": (lambda card: card.update(reported={"clean_accuracy": True}), "reported/clean_accuracy"),
    "figure at no radius": (
        lambda card: card.update(measured=_proved({"x": 9})),
        "robust_accuracy/x",
    ),
    "figure at a negative radius": (lambda card: card.update(measured=_proved({"-1": 9})), "must be at least 0"),
    "negative figure": (
        lambda card: card.update(measured=_proved({"1": -1.0})),
        "robust_accuracy/1: ",
    ),
    "figures in a list": (lambda card: card.update(measured=_proved([59.29])), "measured/verified_robust_accuracy"),
    "fewer than no images": (lambda card: card.update(measured={"images": -1}), "measured/images"),
    "no images": (lambda card: card.update(measured={"images": 0}), "measured/images"),
    "negative bound": (lambda card: card.update(measured={"lipschitz_upper_bound": -1.0}), "lipschitz_upper_bound"),
    "certificate by claim": (lambda card: card.update(reported={"certificate": "sound"}), "reported/certificate"),
    "empty name": (lambda card: card.update(name=""), "name"),
    "blank name": (lambda card: card.update(name=" "), "name"),
    "name with a separator": (lambda card: card.update(name="../../home"), "name"),
    "name with another separator": (lambda card: card.update(name="C:\\model"), "name"),
    "name of the parent": (lambda card: card.update(name=".."), "name"),
    "name with an escape sequence": (lambda card: card.update(name="\x1b]0;owned\x07"), "control characters"),
    "name that reads backwards": (lambda card: card.update(name="safe\u202etxt.exe"), "control characters"),
    "name of two lines": (lambda card: card.update(name="a\nb"), "name"),
    "name of half a character": (lambda card: card.update(name="\ud800"), "control characters"),
    "name without end": (lambda card: card.update(name="a" * 10_000), "name"),
    "data set as a path": (lambda card: card.update(dataset="../cifar10"), "dataset"),
    "key with an escape sequence": (lambda card: card.update({"\x1b[31mred": 1}), "control characters"),
    "licence with an escape sequence": (lambda card: card.update(licence="MIT \x9b2J"), "control characters"),
    "figures with a carriage return": (lambda card: card.update(reported={"a": ["\r"]}), "control characters"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_card(name: str, forge: Any, refused: Refused) -> None:
    tamper, fragment = TAMPERED[name]
    tamper(forge.card)
    refused(forge.write(), fragment)


def _text(card: Card) -> str:
    return json.dumps({**card, "eps_train": 0.5, "reported": {"a": 0}})


def _swapped(old: str, new: str) -> Callable[[Card], bytes]:
    """The first occurrence of a piece of the text is replaced."""

    def make(card: Card) -> bytes:
        assert old in _text(card)
        return _text(card).replace(old, new, 1).encode()

    return make


def _nested(depth: int) -> Callable[[Card], bytes]:
    return _swapped('{"a": 0}', '{"a": ' * depth + "[" * depth + "]" * depth + "}" * depth)


EPS = '"eps_train": 0.5'
RAW: dict[str, tuple[Callable[[Card], bytes], str]] = {
    "empty file": (lambda card: b"", "not valid JSON"),
    "no JSON": (lambda card: b"\x80\x04\x95pickle", "not valid JSON"),
    "other encoding": (lambda card: _text(card).encode("utf-16"), "not valid JSON"),
    "byte order mark": (lambda card: b"\xef\xbb\xbf" + _text(card).encode(), "not valid JSON"),
    "trailing text": (lambda card: _text(card).encode() + b"{}", "not valid JSON"),
    "list": (lambda card: f"[{_text(card)}]".encode(), "the card"),
    "null": (lambda card: b"null", "the card"),
    "NaN for a figure": (_swapped('{"a": 0}', '{"clean_accuracy": NaN}'), "NaN is not a JSON number"),
    "NaN": (_swapped(EPS, '"eps_train": NaN'), "NaN"),
    "infinity": (_swapped(EPS, '"eps_train": -Infinity'), "Infinity"),
    "overflowing number": (_swapped(EPS, '"eps_train": 1e999'), "1e999"),
    "number of 5000 digits": (_swapped(EPS, f'"eps_train": 0.{"1" * 5000}'), "finite double"),
    "integer of 5000 digits": (_swapped('"params": ', f'"params": {"9" * 5000}'), "64 bits"),
    "deep nesting": (_nested(65), "levels"),
    "very deep nesting": (_nested(100_000), "levels"),
    "repeated key": (_swapped('"params": ', '"params": 1, "params": '), "'params' occurs twice"),
    "repeated key in a layer": (_swapped('"groups": ', '"groups": 2, "groups": '), "'groups' occurs twice"),
    "repeated key by escapes": (_swapped('"params": ', '"par\\u0061ms": 1, "params": '), "'params' occurs twice"),
    "larger than any card": (_swapped('{"a": 0}', '{"a": "' + "x" * 5_000_000 + '"}'), "bytes"),
}


@pytest.mark.parametrize("name", RAW)
def test_raw_card(name: str, forge: Any, refused: Refused) -> None:
    make, fragment = RAW[name]
    forge.write()
    refused(forge.write(card=make(forge.card)), fragment)


def test_an_honest_card_is_not_refused(forge: Any) -> None:
    """What every case above starts from, written by this test's own writer."""
    digest = lp.load_model(forge.directory).digest
    assert lp.load_model(forge.write()).digest == digest
    forge.card.update(name="Müller 2026 (k=3) [v1.2] 模型", bibtex="@article{a,\n\ttitle={b},\n}", eps_grid=[0, 0.5, 2])
    assert lp.load_model(forge.write()).digest == digest


def test_cards_are_refused_at_registration_too(forge: Any) -> None:
    forge.card["name"] = "a/b"
    with pytest.raises(lp.CheckpointError, match="name"):
        lp.register_model(forge.write())


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "half\udc80", "right\u202eleft", "two\nlines"])
def test_names_that_could_not_be_read_are_not_written(name: str, forge: Any, tmp_path: Path) -> None:
    with pytest.raises(lp.ConfigError, match="cannot be a model's name"):
        lp.load_model(forge.directory).save(tmp_path / name)
    assert not (tmp_path / name).exists()
