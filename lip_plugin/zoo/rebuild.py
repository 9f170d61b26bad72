"""A network from disk: the operator list of a card and its tensors. Runs no code of theirs, strict about both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lip_plugin.errors import CheckpointError, ChecksumError, UnsupportedLayerError
from lip_plugin.network import UNNAMED, CertifiedClassifier, Head, Operator
from lip_plugin.network.limits import check_settings, check_size
from lip_plugin.network.operators.registry import operator_type
from lip_plugin.network.weights import check_tensors, read_weights


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
        return _assemble(layers, tuple(card["input_shape"]), card.get("name", UNNAMED))
    except UnsupportedLayerError as error:
        raise CheckpointError(f"the operator list does not form a classifier: {error}") from error


def _assemble(layers: Sequence[Operator], input_shape: Any, name: str) -> CertifiedClassifier:
    if not layers or not isinstance(layers[-1], Head) or any(isinstance(layer, Head) for layer in layers[:-1]):
        raise CheckpointError("the last operator, and only that one, must be a head")
    check_size(layers, input_shape)
    return CertifiedClassifier(layers[:-1], layers[-1], input_shape=input_shape, name=name)


def _build_operator(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Operator:
    kind = operator_type(record["kind"])
    check_settings(record["settings"])
    return kind.from_parts(record["settings"], {name: tensors[key] for name, key in record["tensors"].items()})
