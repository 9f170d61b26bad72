"""A model directory: the card, and the layers that it and the weights make."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from .kinds.dense import Head  # with it come all kinds, see kinds/__init__.py
from .layer import Layer, read_chain
from .reading import DTYPES, integers, parse_json, read_safetensors


class Disagreement(Exception):
    """The check failed: exit 1. Any other exception is bad input: exit 2."""


def read_model(directory: Path) -> tuple[dict[str, Any], list[Layer]]:
    """Structure first (broken: exit 2), then sha256 (another one: exit 1), then whether the card fits the weights."""
    card = parse_json((directory / "card.json").read_bytes(), "card.json")
    content = (directory / "model.safetensors").read_bytes()
    stored, sha256 = read_safetensors(content), hashlib.sha256(content).hexdigest()
    if (card["schema"], card["threat_model"], card["dtype"] in DTYPES) != ("lip-card/1", "L2", True):
        raise ValueError(f"card.json: {card['schema']!r}, {card['threat_model']!r}, {card['dtype']!r}")
    shape = tuple(integers(card["input_shape"], "card.json: input_shape", 3, 1))
    if sha256 != card["sha256"]:
        raise Disagreement(f"the weights have sha256 {sha256}, the card says {card['sha256']}")
    used = [name for record in card["network"] for name in record["tensors"].values()]
    if sorted(used) != sorted(stored) or any(v.dtype != DTYPES[card["dtype"]] for v in stored.values()):
        raise ValueError("card.json: tensors are not used exactly once each, or not of the card's dtype")
    if any(not np.isfinite(value).all() for value in stored.values()):
        raise ValueError("weights: a number is not finite")
    layers = read_chain(card["network"], stored, shape)
    if [isinstance(layer, Head) for layer in layers] != [False] * (len(layers) - 1) + [True]:
        raise ValueError("card.json: the last operator, and only that one, must be a head")
    sizes = {"params": sum(v.size for v in stored.values()), "num_classes": len(layers[-1].tensors["weight"])}
    if any(card[key] != value for key, value in sizes.items()):
        raise Disagreement(f"the weights have {sizes}, the card says {card['params']} and {card['num_classes']}")
    return card, layers
