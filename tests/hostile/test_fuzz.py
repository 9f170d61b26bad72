"""Random tampering, signed anew: an error of this package, or a certificate that an independent network confirms.

LIP_FUZZ_EXAMPLES=20000 runs longer than the suite does; the examples of a shorter run are among those of a longer one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lip_plugin as lp

from .conftest import Forge, make_forge, packed, restart_clock, safetensors_bytes, small_network
from .reference import radii, read_model

EXAMPLES = int(os.environ.get("LIP_FUZZ_EXAMPLES", "100"))
fuzzed = settings(max_examples=EXAMPLES, print_blob=True)
_LARGEST_IMAGE = 4000


def outcome(directory: Path) -> str:
    """What became of it, counted by hypothesis; anything but an error of this package or a right certificate fails."""
    restart_clock()
    try:
        model = lp.load_model(directory)
        if np.prod(model.input_shape) > _LARGEST_IMAGE:
            return "too large to be certified here"
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(3, *model.input_shape, generator=generator, dtype=torch.float64)
        certificate = lp.certify(model, x)
        stricter = lp.certify(model, x, arithmetic="float64")
    except lp.LipPluginError as error:
        assert str(error).isprintable(), str(error)
        assert len(str(error)) < 1500
        return "refused"
    assert bool((stricter.radius <= certificate.radius).all())
    confirm(directory, x.numpy(), certificate)
    return "certified"


def confirm(directory: Path, x: Any, certificate: lp.Certificate) -> None:
    """Same classes where the order is not within rounding, and no radius beyond the reference's."""
    with np.errstate(over="ignore", invalid="ignore"):
        logits, spread, bound = radii(directory, x)
    assert np.isfinite(logits).all()
    ordered = np.sort(logits, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 2 * spread
    assert (certificate.prediction.numpy() == logits.argmax(axis=1))[clear].all()
    radius = certificate.radius.numpy()
    if bound is not None:
        assert (radius <= bound * (1 + 1e-9)).all(), (radius, bound)


# --- tampering with the card --------------------------------------------------------------------------------------

NUMBERS = [-1, 0, 1, 2, 3, 4, 5, 6, 8, 12, 16, 1000, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, 5e-324, -3.5]
WORDS = ["", "relu", "tanh", "abs", "elu", "sigmoid", "circular", "zeros", "float32", "\x1b[2J", "../x", "\ud800"]
KINDS = ["conv", "dense", "head", "minmax", "flatten", "offset", "scale", "l2_pool", "avg_pool", "max_pool", "x"]
INSERTED: list[list[dict[str, Any]]] = [
    [{"kind": "activation", "settings": {"function": "elu", "parameter": -2.5}, "tensors": {}}],
    [{"kind": "activation", "settings": {"function": "leaky_relu", "parameter": -3}, "tensors": {}}],
    [{"kind": "activation", "settings": {"function": "sigmoid", "parameter": 1e9}, "tensors": {}}],
    [{"kind": "max_pool", "settings": {"kernel": [3, 3], "stride": [1, 1], "padding": [1, 1]}, "tensors": {}}],
    [{"kind": "max_pool", "settings": {"kernel": [1, 1], "stride": [1, 1], "dilation": [3, 1]}, "tensors": {}}],
    [{"kind": "avg_pool", "settings": {"kernel": [3, 1], "stride": [1, 1], "padding": [1, 0]}, "tensors": {}}],
    [
        {"kind": "pixel_unshuffle", "settings": {"factor": 2}, "tensors": {}},
        {"kind": "pixel_shuffle", "settings": {"factor": 2}, "tensors": {}},
    ],
    [{"kind": "channel_shuffle", "settings": {"groups": 2}, "tensors": {}}],
    [{"kind": "minmax", "settings": {}, "tensors": {}}],
]
values = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from([*WORDS, *KINDS]),
    st.lists(st.sampled_from(NUMBERS[:12]), max_size=4),
    st.sampled_from([None, True, False, {}, [], {"a": {}}, [[1, 1]]]),
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a JSON value."""
    inside = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    found = [(value, key) for key, _ in inside]
    return found + [place for _, part in inside if isinstance(part, dict | list) for place in places(part)]


def tamper(document: Any, draw: Callable[..., Any], focus: Any = None) -> None:
    """One change at a random place: another value, a value from elsewhere, nothing, twice, or exchanged."""
    container, key = draw(st.sampled_from(places(document if focus is None else focus)))
    action = draw(st.sampled_from(["replace", "nudge", "graft", "remove", "repeat", "exchange"]))
    if action == "nudge" and type(container[key]) is int:
        container[key] += draw(st.sampled_from([-1, 1]))
    elif action == "graft":
        other, where = draw(st.sampled_from(places(document)))
        container[key] = deepcopy(other[where])
    elif action == "remove":
        del container[key]
    elif action == "repeat" and isinstance(container, list):
        container.insert(key, deepcopy(container[key]))
    elif action == "exchange" and isinstance(container, list):
        other = draw(st.integers(0, len(container) - 1))
        container[key], container[other] = container[other], container[key]
    else:
        container[key] = draw(values)


@pytest.fixture(scope="module", params=["float64", "float32"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Forge:
    return make_forge(small_network(getattr(torch, request.param)), tmp_path_factory.mktemp("fuzz") / "model")


@pytest.mark.parametrize("victim", ["float64"], indirect=True)
@given(data=st.data())
@fuzzed
def test_tampered_cards(victim: Forge, data: st.DataObject) -> None:
    forge = victim.copy()
    if data.draw(st.booleans()):
        index = data.draw(st.integers(0, 10))
        forge.card["network"][index:index] = deepcopy(data.draw(st.sampled_from(INSERTED)))
    for _ in range(data.draw(st.integers(0, 3))):
        focus = forge.card.get("network") if data.draw(st.integers(0, 4)) else None
        tamper(forge.card, data.draw, focus if isinstance(focus, list) and focus else None)
    outcome(forge.sign())


# --- tampering with the weights -----------------------------------------------------------------------------------

ENTRIES = [0.0, -0.0, 1.0, -1.0, 5e-324, 1e-310, 1e-45, 1e38, 1e154, 1e300, 1.7e308, float("nan"), float("inf")]


def change_entries(forge: Forge, draw: Callable[..., Any]) -> None:
    """Entries, slices, scales, shapes and types of one tensor."""
    name = draw(st.sampled_from(sorted(forge.tensors)))
    value = forge.tensors[name]
    action = draw(st.sampled_from(["entry", "fill", "scale", "round", "copy row", "reshape", "type", "rename"]))
    with np.errstate(over="ignore", invalid="ignore"):
        if action == "entry":
            value.reshape(-1)[draw(st.integers(0, value.size - 1))] = draw(st.sampled_from(ENTRIES))
        elif action == "fill":
            value[...] = draw(st.sampled_from(ENTRIES))
        elif action == "scale":
            value *= draw(st.sampled_from([-1.0, 1e-320, 1e-30, 1e-8, 1e8, 1e30, 1e100]))
        elif action == "round":
            value[...] = np.round(value)
        elif action == "copy row" and value.ndim and len(value) > 1:
            value[1] = value[0]
        elif action == "reshape":
            forge.tensors[name] = value.T.copy() if draw(st.booleans()) else value.reshape(-1)
        elif action == "type":
            forge.tensors[name] = value.astype(draw(st.sampled_from(["float32", "float64"])))
        else:
            forge.tensors[draw(st.sampled_from(sorted(forge.tensors)))] = forge.tensors.pop(name)


def change_bytes(content: bytes, draw: Callable[..., Any]) -> bytes:
    """A flipped, cut, inserted or repeated piece, half of the time in the header."""
    edge = 8 + int.from_bytes(content[:8], "little") if draw(st.booleans()) else len(content)
    position = draw(st.integers(0, min(edge, len(content)) - 1))
    piece = draw(
        st.sampled_from([b"", b"\0", b"\xff", b"0", b"9", b'"', b"]", b",", b'"F32"', b"[1,1]", b"1e3", b"  "])
    )
    skipped = draw(st.sampled_from([0, 1, 1, 2, 8]))
    return content[:position] + piece + content[position + skipped :]


@given(data=st.data())
@fuzzed
def test_tampered_weights(victim: Forge, data: st.DataObject) -> None:
    forge = victim.copy()
    for _ in range(data.draw(st.integers(0, 2))):
        change_entries(forge, data.draw)
    header, content = packed(forge.tensors)
    if data.draw(st.booleans()):
        tamper(header, data.draw)
    weights = safetensors_bytes(json.dumps(header).encode("utf-8", "surrogatepass"), content)
    if data.draw(st.integers(0, 2)) == 0:
        weights = change_bytes(weights, data.draw)
    forge.card["params"] = max(1, sum(value.size for value in forge.tensors.values()))
    outcome(forge.sign(weights=weights))


# --- the reference and the tampering can fail ---------------------------------------------------------------------


def test_the_honest_model_is_confirmed_tightly(victim: Forge) -> None:
    directory = victim.sign()
    assert outcome(directory) == "certified"
    shape, _ = read_model(directory)
    x = torch.rand(8, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    certificate = lp.certify(lp.load_model(directory), x)
    _, _, bound = radii(directory, x.numpy())
    assert bound is not None
    assert (certificate.radius.numpy() > 0.999 * bound).all()
    larger = replace(certificate, radius=certificate.radius * 1.01)
    with pytest.raises(AssertionError):
        confirm(directory, x.numpy(), larger)


@pytest.mark.parametrize("records", INSERTED, ids=lambda records: records[0]["kind"])
def test_inserted_layers_are_confirmed_wherever_they_fit(victim: Forge, records: list[dict[str, Any]]) -> None:
    found: set[str] = set()
    for index in range(len(victim.card["network"])):
        forge = victim.copy()
        forge.card["network"][index:index] = deepcopy(records)
        found.add(outcome(forge.sign()))
    assert "certified" in found
    assert found <= {"refused", "certified"}
