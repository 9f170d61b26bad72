"""A network on disk: the operator list as JSON, the tensors as safetensors. No code, strict in both directions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save as dump_safetensors
from torch import Tensor

from lip_plugin.errors import CheckpointError, ChecksumError, ConfigError, UnsupportedLayerError
from lip_plugin.files import CARD_FILE, WEIGHTS_FILE, complete_directory, write_atomically
from lip_plugin.network.alteration import require_unaltered
from lip_plugin.network.classifier import CertifiedClassifier, buffer_name
from lip_plugin.network.limits import check_settings, check_size
from lip_plugin.network.operators import OPERATOR_KINDS, Head, Operator
from lip_plugin.network.weights import check_tensors, read_weights
from lip_plugin.untrusted import is_plain_name, printable

CARD_SCHEMA = "lip-card/1"


def network_record(model: CertifiedClassifier) -> list[dict[str, Any]]:
    """The operator list of a card: kind, settings, and the name of every tensor in the weights file."""
    return [
        {
            "kind": layer.kind,
            "settings": layer.settings(),
            "tensors": {name: buffer_name(index, name) for name in layer.tensors()},
        }
        for index, layer in enumerate(model.layers)
    ]


def dump_weights(model: CertifiedClassifier) -> bytes:
    return dump_safetensors({name: value.cpu().contiguous() for name, value in model.named_buffers()})


def technical_record(model: CertifiedClassifier, weights: bytes) -> dict[str, Any]:
    """The part of ``card.json`` that follows from the network alone."""
    return {
        "schema": CARD_SCHEMA,
        "threat_model": "L2",
        "input_shape": list(model.input_shape),
        "num_classes": model.num_classes,
        "dtype": str(model.dtype).removeprefix("torch."),
        "network": network_record(model),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "digest": model.digest,
        "params": model.num_parameters,
    }


def save_network(model: CertifiedClassifier, directory: Path) -> None:
    """Write a new model directory; it appears under its name only when complete.

    Raises as `write_network`.
    """
    with complete_directory(directory) as partial:
        write_network(model, partial, {"name": directory.name})


def write_network(model: CertifiedClassifier, directory: Path, description: Mapping[str, Any]) -> None:
    """Write weights and card into an existing directory, the card last. ``description`` needs a ``name``.

    Raises ConfigError for an altered network, and for a name, and UnsupportedLayerError for a size, that loading
    would refuse.
    """
    require_unaltered(model)
    if not is_plain_name(description["name"]):
        raise ConfigError(
            f"'{printable(description['name'], longest=80)}' cannot be a model's name; "
            "give one printable line of at most 200 characters without path separators"
        )
    check_size(model.layers, model.input_shape)
    weights = dump_weights(model)
    card = json.dumps({**description, **technical_record(model, weights)}, indent=1, ensure_ascii=False)
    write_atomically(directory / WEIGHTS_FILE, weights)
    write_atomically(directory / CARD_FILE, (card + "\n").encode())


def load_network(card: Mapping[str, Any], weights_path: Path) -> CertifiedClassifier:
    """Rebuild a network from the technical part of its card and its weights.

    Raises ChecksumError where the file or the rebuilt network has another hash, CheckpointError where
    the two do not fit together.
    """
    tensors = read_weights(weights_path, sha256=card["sha256"], params=card["params"])
    model = build_network(card, tensors)
    if model.num_classes != card["num_classes"] or model.num_parameters != card["params"]:
        raise CheckpointError(
            f"{weights_path.parent}: the card says {card['num_classes']} classes and {card['params']} parameters, "
            f"the network has {model.num_classes} and {model.num_parameters}"
        )
    if model.digest != card["digest"]:
        raise ChecksumError(
            f"{weights_path.parent}: the network's digest is {model.digest}, the card says {card['digest']}"
        )
    return model


def build_network(card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> CertifiedClassifier:
    """Every tensor is used exactly once and has the card's dtype. Raises CheckpointError."""
    check_tensors(card["network"], tensors, card["dtype"])
    try:
        layers = [_build_operator(layer, tensors) for layer in card["network"]]
        return _assemble(layers, tuple(card["input_shape"]))
    except UnsupportedLayerError as error:
        raise CheckpointError(f"the operator list does not form a classifier: {error}") from error


def _assemble(layers: Sequence[Operator], input_shape: Any) -> CertifiedClassifier:
    if not layers or not isinstance(layers[-1], Head) or any(isinstance(layer, Head) for layer in layers[:-1]):
        raise CheckpointError("the last operator, and only that one, must be a head")
    check_size(layers, input_shape)
    return CertifiedClassifier(layers[:-1], layers[-1], input_shape=input_shape)


def _build_operator(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Operator:
    kind = OPERATOR_KINDS.get(record["kind"])
    if kind is None:
        raise CheckpointError(
            f"unknown operator kind '{printable(record['kind'], longest=80)}'; "
            f"known: {', '.join(sorted(OPERATOR_KINDS))}"
        )
    check_settings(record["settings"])
    return kind.from_parts(record["settings"], {name: tensors[key] for name, key in record["tensors"].items()})
