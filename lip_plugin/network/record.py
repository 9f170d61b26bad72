"""A network on disk, written: the operator list as JSON, the tensors as safetensors. No code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save as dump_safetensors
from torch import Tensor

from lip_plugin.errors import ConfigError
from lip_plugin.files import CARD_FILE, WEIGHTS_FILE, write_atomically
from lip_plugin.network.kinds import foreign_operators
from lip_plugin.network.limits import check_size
from lip_plugin.network.operators import Operator
from lip_plugin.network.shapes import buffer_name
from lip_plugin.types import ImageShape
from lip_plugin.untrusted import is_plain_name, printable

CARD_SCHEMA = "lip-card/1"


class Network(Protocol):
    """What is asked of a plain network here; `CertifiedClassifier` is one."""

    @property
    def layers(self) -> Sequence[Operator]: ...
    @property
    def input_shape(self) -> ImageShape: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def num_parameters(self) -> int: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def digest(self) -> str: ...
    def named_buffers(self) -> Iterator[tuple[str, Tensor]]: ...


def network_record(network: Network) -> list[dict[str, Any]]:
    """The operator list of a card: kind, settings, and the name of every tensor in the weights file."""
    return [
        {
            "kind": layer.kind,
            "settings": layer.settings(),
            "tensors": {name: buffer_name(index, name) for name in layer.tensors()},
        }
        for index, layer in enumerate(network.layers)
    ]


def dump_weights(network: Network) -> bytes:
    return dump_safetensors({name: value.cpu().contiguous() for name, value in network.named_buffers()})


def weights_sha256(network: Network) -> str:
    """Of the weights file that `write_network` writes: what cards and reports name a model's weights by."""
    return hashlib.sha256(dump_weights(network)).hexdigest()


def technical_record(network: Network, weights: bytes) -> dict[str, Any]:
    """The part of ``card.json`` that follows from the network alone."""
    foreign = foreign_operators(network.layers)
    return {
        "schema": CARD_SCHEMA,
        "threat_model": "L2",
        "input_shape": list(network.input_shape),
        "num_classes": network.num_classes,
        "dtype": str(network.dtype).removeprefix("torch."),
        "network": network_record(network),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "digest": network.digest,
        "params": network.num_parameters,
        **({"foreign_operators": list(foreign)} if foreign else {}),
    }


def write_network(network: Network, directory: Path, description: Mapping[str, Any]) -> None:
    """Write weights and card into an existing directory, the card last. ``description`` needs a ``name``.

    Whether the network is altered is the caller's to ask (`require_unaltered`). Raises ConfigError for a name, and
    UnsupportedLayerError for a size, that loading would refuse.
    """
    for what, name in (("a model", description["name"]), ("a data set", description.get("dataset") or "none")):
        if not is_plain_name(name):
            raise ConfigError(
                f"'{printable(name, longest=80)}' cannot be {what}'s name; "
                "give one printable line of at most 200 characters without path separators"
            )
    check_size(network.layers, network.input_shape)
    weights = dump_weights(network)
    write_atomically(directory / WEIGHTS_FILE, weights)
    write_atomically(directory / CARD_FILE, card_text({**description, **technical_record(network, weights)}).encode())


def card_text(card: Mapping[str, Any]) -> str:
    return json.dumps(card, indent=1, ensure_ascii=False) + "\n"
