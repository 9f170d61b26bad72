"""Checkpoints as training scripts save them: the network of the bare state dict, or a line that says what to give."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

import lip_plugin as lp

State = dict[str, Any]
OPTIMISER: State = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}


class Published:
    """A recorded run of the authors' code and the digest of its bare conversion."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            keys = [key for key in file.keys() if key.startswith("state.")]  # noqa: SIM118  not a mapping
            self.state: State = {key.removeprefix("state."): file.get_tensor(key) for key in keys}
        self.implementation, self.config = metadata["implementation"], json.loads(metadata["config"])
        self.digest = self.convert(self.state).digest

    def convert(self, checkpoint: Any, key: str | None = None) -> lp.CertifiedClassifier:
        return lp.from_published(self.implementation, self.config, checkpoint, key=key)

    def other(self) -> State:
        """Another network of the same sizes."""
        return {**self.state, "head.bias": self.state["head.bias"] + 1}


@pytest.fixture(scope="module", params=["hu23_cifar_s1", "liresnetpp_cifar_s1", "bronet_tiny_s1"])
def published(request: pytest.FixtureRequest) -> Published:
    return Published(Path(__file__).parents[1] / "golden" / f"{request.param}.safetensors")


def under(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def in_parts(state: State) -> State:
    head = {key.removeprefix("head."): value for key, value in state.items() if key.startswith("head.")}
    return {"backbone": {key: value for key, value in state.items() if not key.startswith("head.")}, "head": head}


def in_many_parts(state: State) -> State:
    parts: dict[str, State] = {}
    for key, value in state.items():
        name, _, rest = key.partition(".")
        parts.setdefault(name, {})[rest] = value
    return parts


def compiled_inside(state: State) -> State:
    """torch.compile and DataParallel around single modules."""
    return {
        re.sub(r"^(stem|head)\.", r"\1.module.", re.sub(r"^(neck)\.", r"\1._orig_mod.", key)): value
        for key, value in state.items()
    }


TAKEN: dict[str, Callable[[State], Any]] = {
    "module": lambda state: under("module.", state),
    "compiled": lambda state: under("_orig_mod.", state),
    "DataParallel around compiled": lambda state: under("module._orig_mod.", state),
    "compiled around DataParallel": lambda state: under("_orig_mod.module.", state),
    "Lightning": lambda state: {"state_dict": under("model.", state), "optimizer_states": [OPTIMISER], "epoch": 3},
    "three of them": lambda state: under("model._orig_mod.module.", state),
    "of another name": lambda state: under("net.", state),
    "parts compiled": compiled_inside,
    "under state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "under model": lambda state: {"model": under("module.", state), "optimizer": OPTIMISER, "args": None},
    "deep": lambda state: {"checkpoint": {"state": {"model": state}}, "step": torch.tensor(5)},
    "all of it under backbone": lambda state: {"backbone": state, "optimizer": OPTIMISER, "start_epoch": 3},
    "backbone and head": lambda state: {**in_parts(state), "optimizer": OPTIMISER, "epoch": 1},
    "backbone and head under module": lambda state: (
        in_parts(under("module.", state))
        | {
            "head": under("module.", in_parts(state)["head"]),
            "backbone": under("module.", in_parts(state)["backbone"]),
        }
    ),
    "backbone and head, nested": lambda state: {"model": in_parts(state), "epoch": 1},
    "a part for every module": in_many_parts,
    "an ordered dict": lambda state: OrderedDict(state),
    "a list": lambda state: [state, OPTIMISER],
    "a counter": lambda state: {**state, "bn.num_batches_tracked": torch.tensor(3)},
    "AveragedModel": lambda state: {"n_averaged": torch.tensor(7), **under("module.", state)},
    "numbers beside": lambda state: {
        **state,
        "epoch": 3,
        "best": 0.5,
        "name": "x",
        "scheduler": None,
        "args": {"a": 1},
    },
    "an equal copy": lambda state: {"model": state, "ema": {key: value.clone() for key, value in state.items()}},
    "an empty copy": lambda state: {"model": state, "ema": None, "ema2": {}},
}


@pytest.mark.parametrize("name", TAKEN)
def test_the_same_network_comes_out(name: str, published: Published) -> None:
    assert published.convert(TAKEN[name](published.state)).digest == published.digest


COPIES: dict[str, tuple[Callable[[State, State], Any], str, str]] = {
    "nested": (lambda a, b: {"model": a, "ema": b}, "model", "ema"),
    "nested deeper": (
        lambda a, b: {"state": {"model": a, "ema": {"decay": 0.9, "module": b}}},
        "state.model",
        "state.ema.module",
    ),
    "by prefix": (lambda a, b: {**under("model.", a), **under("ema.", b)}, "model", "ema"),
    "by prefix, nested": (
        lambda a, b: {"state_dict": {**under("m.module.", a), **under("e.", b)}},
        "state_dict.m",
        "state_dict.e",
    ),
    "in a list": (lambda a, b: [under("module.", a), b], "0", "1"),
    "in parts": (lambda a, b: {"model": in_parts(a), "ema": in_parts(b)}, "model", "ema"),
}


def test_a_copy_beside_parts_is_seen(published: Published) -> None:
    checkpoint = {**in_parts(published.state), "ema": in_parts(published.other())}
    with pytest.raises(lp.CheckpointError, match=r"'the outermost', 'ema'"):
        published.convert(checkpoint)


@pytest.mark.parametrize("name", COPIES)
def test_two_networks_are_named_and_a_key_chooses(name: str, published: Published) -> None:
    make, first, second = COPIES[name]
    other = published.other()
    checkpoint = make(published.state, other)
    with pytest.raises(lp.CheckpointError, match="holds 2 networks that differ") as caught:
        published.convert(checkpoint)
    assert f"'{first}'" in str(caught.value) and f"'{second}'" in str(caught.value)
    assert published.convert(checkpoint, key=first).digest == published.digest
    assert published.convert(checkpoint, key=second).digest == published.convert(other).digest != published.digest


def test_a_copy_beside_the_bare_weights_is_ambiguous_too(published: Published) -> None:
    other = published.other()
    for checkpoint in ({**published.state, **under("ema.", other)}, {**published.state, "ema": other}):
        with pytest.raises(lp.CheckpointError, match=r"'the outermost', 'ema'.*key='ema'"):
            published.convert(checkpoint)
        assert published.convert(checkpoint, key="ema").digest == published.convert(other).digest


REFUSED: dict[str, tuple[Callable[[State], Any], str]] = {
    "half": (lambda state: {key: value.half() for key, value in state.items()}, r"are float16; .*value\.float\(\)"),
    "bfloat16": (lambda state: {key: value.bfloat16() for key, value in state.items()}, "are bfloat16;"),
    "one in half": (lambda state: {**state, "head.bias": state["head.bias"].half()}, "mixes dtypes"),
    "twice": (
        lambda state: {**state, "module.head.weight": state["head.weight"]},
        r"'module\.head\.weight'.*same weight",
    ),
    "another module beside": (
        lambda state: {**under("net.", state), "loss.weight": torch.ones(2)},
        r"'loss\.weight'.*'net\.'",
    ),
    "nothing of it": (
        lambda state: {"model": {"fc.weight": torch.ones(2, 2)}, "epoch": 1},
        r"found the entries 'model', 'epoch'",
    ),
    "an optimiser": (lambda state: OPTIMISER, "no entry of the checkpoint holds"),
    "a part is missing": (
        lambda state: {"model": {k: v for k, v in state.items() if "head" not in k}},
        "no entry of the checkpoint",
    ),
    "a weight is missing": (
        lambda state: under("module.", {k: v for k, v in state.items() if k != "head.weight"}),
        r"lacks.*head\.weight",
    ),
    "a text for a weight": (
        lambda state: {"model": {**state, "head.weight": "torch.ones(3)"}},
        r"entry 'head\.weight' .*is a str",
    ),
    "integers for a weight": (lambda state: {**state, "head.bias": torch.ones(3, dtype=torch.int64)}, "mixes dtypes"),
    "a counter for a weight": (lambda state: {**state, "head.bias": torch.tensor(3)}, r"lacks 'head\.bias'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_what_was_found(name: str, published: Published) -> None:
    change, words = REFUSED[name]
    with pytest.raises(lp.CheckpointError, match=words) as caught:
        published.convert(change(published.state))
    line = str(caught.value)
    assert line.isprintable() and len(line) < 1200


def test_keys_that_are_not_there(published: Published) -> None:
    checkpoint = {"model": published.state, "epoch": 3}
    with pytest.raises(lp.ConfigError, match=r"no key 'modle'; Did you mean 'model'\? it has 'model', 'epoch'"):
        published.convert(checkpoint, key="modle")
    with pytest.raises(lp.CheckpointError, match="is a int; expected tensors under names"):
        published.convert(checkpoint, key="epoch")


def test_containers_without_an_end_are_left_soon(published: Published) -> None:
    endless: State = {"epoch": 1}
    endless.update({f"again{i}": endless for i in range(12)})
    with pytest.raises(lp.CheckpointError, match="nests more than 1000 dicts"):
        published.convert(endless)
    with pytest.raises(lp.CheckpointError, match="nests more than 1000 dicts"):
        published.convert({"model": published.state, **endless})
    assert published.convert({"model": published.state, **endless}, key="model").digest == published.digest


def test_ones_of_one_number_are_not_copied_to_be_compared(published: Published) -> None:
    huge: Tensor = torch.zeros(1).double().expand(2**20, 2**20)
    with pytest.raises(lp.CheckpointError, match="repeats its storage"):
        published.convert(
            {"a": {**published.state, "head.weight": huge}, "b": {**published.state, "head.weight": huge}}
        )
