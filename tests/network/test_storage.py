"""A network on disk: it comes back identical, and anything that does not fit together is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

import lip_plugin as lp
from lip_plugin.errors import CheckpointError, ChecksumError, LipPluginError
from lip_plugin.network import Activation, CertifiedClassifier, Flatten, Head, Operator, Residual
from lip_plugin.network.operators import BUILT_IN
from lip_plugin.zoo.rebuild import build_network, load_network

Randn = Callable[..., Tensor]
Card = dict[str, Any]


def _saved(network: CertifiedClassifier, directory: Path) -> tuple[Card, dict[str, Tensor]]:
    network.save(directory)
    return json.loads((directory / "card.json").read_text()), load_file(directory / "model.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip(
    dtype: torch.dtype, make_network: Callable[[torch.dtype], CertifiedClassifier], randn: Randn, tmp_path: Path
) -> None:
    network = make_network(dtype)
    assert {layer.kind for layer in network.layers} == BUILT_IN
    card, _ = _saved(network, tmp_path / "model")
    again = load_network(card, tmp_path / "model" / "model.safetensors")
    by_name = lp.load_model(tmp_path / "model")
    assert network.digest == again.digest == by_name.digest == card["digest"]
    assert card["sha256"] == hashlib.sha256((tmp_path / "model" / "model.safetensors").read_bytes()).hexdigest()
    assert (again.dtype, again.input_shape, again.num_classes) == (dtype, (3, 8, 8), 3)
    for old, new in zip(network.layers, again.layers, strict=True):
        assert type(old) is type(new)
        assert old.settings() == new.settings()
        assert all(torch.equal(value, new.tensors()[name]) for name, value in old.tensors().items())
    x = randn(4, 3, 8, 8, dtype=dtype)
    assert torch.equal(network(x), again(x))
    assert card["params"] == sum(value.numel() for layer in network.layers for value in layer.tensors().values())


def test_saving_over_something_is_refused(network: CertifiedClassifier, tmp_path: Path) -> None:
    network.save(tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    with pytest.raises(LipPluginError, match="exists and is not"):
        network.save(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    (tmp_path / "file").write_text("taken")
    with pytest.raises(LipPluginError):
        network.save(tmp_path / "file")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "model"]  # no scratch directory left
    (tmp_path / "empty").mkdir()
    network.save(tmp_path / "empty")
    assert (tmp_path / "empty" / "card.json").is_file()


@pytest.mark.parametrize("position", [0, 8, 200, -1, -100])
def test_a_flipped_byte_is_refused(position: int, network: CertifiedClassifier, tmp_path: Path) -> None:
    card, _ = _saved(network, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[position] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ChecksumError, match="sha256"):
        load_network(card, weights)
    card["sha256"] = hashlib.sha256(content).hexdigest()  # whoever changes the file changes the hash
    with pytest.raises((ChecksumError, CheckpointError)):
        load_network(card, weights)
    with pytest.raises((ChecksumError, CheckpointError)):
        lp.load_model(tmp_path / "model")


def test_a_truncated_or_missing_file_is_refused(network: CertifiedClassifier, tmp_path: Path) -> None:
    card, _ = _saved(network, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    content = weights.read_bytes()
    for length in (0, 7, 100, len(content) - 1):
        weights.write_bytes(content[:length])
        with pytest.raises(ChecksumError):
            load_network(card, weights)
        with pytest.raises(CheckpointError, match="safetensors"):
            load_network({**card, "sha256": hashlib.sha256(content[:length]).hexdigest()}, weights)
    weights.unlink()
    with pytest.raises(CheckpointError, match="cannot read"):
        load_network(card, weights)


def _first(card: Card, kind: str) -> Card:
    return next(layer for layer in card["network"] if layer["kind"] == kind)


MISFITS: dict[str, Callable[[Card], object]] = {
    "unknown kind": lambda card: card["network"][0].update(kind="offsett"),
    "another kind": lambda card: card["network"][2].update(kind="flatten"),
    "unknown setting": lambda card: _first(card, "conv")["settings"].update(transposed=True),
    "missing setting": lambda card: _first(card, "avg_pool")["settings"].pop("stride"),
    "setting of another type": lambda card: _first(card, "conv")["settings"].update(stride=2),
    "setting out of range": lambda card: _first(card, "conv")["settings"].update(stride=[0, 1]),
    "boolean size": lambda card: _first(card, "conv")["settings"].update(dilation=[True, True]),
    "text parameter": lambda card: _first(card, "activation")["settings"].update(parameter="0.7"),
    "infinite parameter": lambda card: _first(card, "activation")["settings"].update(parameter=float("inf")),
    "unknown function": lambda card: _first(card, "activation")["settings"].update(function="bump"),
    "unhashable function": lambda card: _first(card, "activation")["settings"].update(function=[["relu"]]),
    "unknown padding": lambda card: _first(card, "conv")["settings"].update(padding_mode="mirror"),
    "tensor as a setting": lambda card: _first(card, "dense")["settings"].update(bias=1.0),
    "tensor without a field": lambda card: _first(card, "minmax")["tensors"].update(weight="01_weight"),
    "missing tensor": lambda card: _first(card, "dense")["tensors"].pop("weight"),
    "dropped bias": lambda card: _first(card, "dense")["tensors"].pop("bias"),
    "tensor used twice": lambda card: _first(card, "dense")["tensors"].update(bias="19_bias"),
    "head not last": lambda card: card["network"].append(card["network"].pop(-2)),
    "head twice": lambda card: _first(card, "dense").update(kind="head"),
    "no head": lambda card: card["network"][-1].update(kind="dense"),
    "no layers": lambda card: card["network"].clear(),
    "another dtype": lambda card: card.update(dtype="float32"),
    "unknown dtype": lambda card: card.update(dtype="float16"),
    "another input shape": lambda card: card.update(input_shape=[3, 8, 9]),
    "input of two dimensions": lambda card: card.update(input_shape=[3, 64]),
    "empty input": lambda card: card.update(input_shape=[3, 0, 8]),
    "layers exchanged": lambda card: card["network"].insert(0, card["network"].pop(3)),
}


@pytest.mark.parametrize("name", MISFITS)
def test_cards_that_do_not_fit_are_refused(name: str, network: CertifiedClassifier, tmp_path: Path) -> None:
    card, tensors = _saved(network, tmp_path / "model")
    assert build_network(card, tensors).digest == network.digest
    MISFITS[name](card)
    with pytest.raises(CheckpointError):
        build_network(card, tensors)
    (tmp_path / "model" / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError):
        lp.load_model(tmp_path / "model")


@pytest.mark.parametrize("key", ["kind", "settings", "tensors"])
def test_incomplete_records_are_refused(key: str, network: CertifiedClassifier, tmp_path: Path) -> None:
    card, _ = _saved(network, tmp_path / "model")
    card["network"][1].pop(key)
    (tmp_path / "model" / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=key):
        lp.load_model(tmp_path / "model")


def test_weights_that_do_not_fit_are_refused(network: CertifiedClassifier, tmp_path: Path) -> None:
    card, tensors = _saved(network, tmp_path / "model")
    name = _first(card, "dense")["tensors"]["weight"]
    misfits = [
        {**tensors, "extra": torch.zeros(1, dtype=torch.float64)},
        {key: value for key, value in tensors.items() if key != name},
        {**tensors, name: tensors[name].float()},
        {**tensors, name: tensors[name].T.contiguous()},
        {**tensors, name: tensors[name].flatten()},
        {**tensors, name: tensors[name].long()},
    ]
    for misfit in misfits:
        with pytest.raises(CheckpointError):
            build_network(card, misfit)
        save_file(misfit, tmp_path / "model.safetensors")
        content = (tmp_path / "model.safetensors").read_bytes()
        with pytest.raises(CheckpointError):
            load_network({**card, "sha256": hashlib.sha256(content).hexdigest()}, tmp_path / "model.safetensors")


def test_other_weights_under_their_own_hash_are_refused_by_the_digest(
    network: CertifiedClassifier, tmp_path: Path
) -> None:
    card, tensors = _saved(network, tmp_path / "model")
    name = _first(card, "dense")["tensors"]["weight"]
    save_file({**tensors, name: 2 * tensors[name]}, tmp_path / "model.safetensors")
    card["sha256"] = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    with pytest.raises(ChecksumError, match="digest"):
        load_network(card, tmp_path / "model.safetensors")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(layer=st.integers(0, 20), value=json_values, data=st.data())
def test_a_scrambled_setting_gives_the_same_network_or_an_error(
    layer: int, value: object, data: st.DataObject, make_network: Callable[[torch.dtype], CertifiedClassifier]
) -> None:
    """Whatever stands in a card, only errors of this package come out."""
    network = make_network(torch.float64)
    records = [
        {"kind": op.kind, "settings": op.settings(), "tensors": {name: f"{i}{name}" for name in op.tensors()}}
        for i, op in enumerate(network.layers)
    ]
    tensors = {f"{i}{name}": value for i, op in enumerate(network.layers) for name, value in op.tensors().items()}
    card: Card = {"dtype": "float64", "input_shape": [3, 8, 8], "network": records}
    settings: Card = records[layer]["settings"]  # pyright: ignore[reportAssignmentType]
    key = data.draw(st.sampled_from([*settings, "stride", "weight"]))
    settings[key] = value
    try:
        built = build_network(card, tensors)
    except CheckpointError:
        return
    assert built.layers[layer].settings().get(key) == value or value is None


def _sums_inside_one_another(count: int) -> CertifiedClassifier:
    """What ``h = relu(h) + x`` becomes, ``count`` times."""
    layer: Operator = Activation("relu")
    for _ in range(count - 1):
        layer = Residual((layer, Activation("relu")))
    head = Head(torch.ones(2, 4) * torch.tensor([[1.0], [-1.0]]))
    return CertifiedClassifier([Flatten(), layer], head, input_shape=(1, 2, 2))


def test_what_saves_loads_again_however_deep_its_sums(tmp_path: Path) -> None:
    deepest = _sums_inside_one_another(32)
    deepest.save(tmp_path / "deepest")
    assert lp.load_model(tmp_path / "deepest").digest == deepest.digest
    with pytest.raises(lp.UnsupportedLayerError, match="33 operators inside one another"):
        _sums_inside_one_another(33).save(tmp_path / "deeper")
