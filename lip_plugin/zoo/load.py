"""From a name or a directory to a certified classifier."""

from __future__ import annotations

from pathlib import Path

import torch

from lip_plugin.devices import usable_device
from lip_plugin.errors import ConfigError
from lip_plugin.files import WEIGHTS_FILE
from lip_plugin.network import CertifiedClassifier
from lip_plugin.zoo.rebuild import load_network
from lip_plugin.zoo.registry import find_model


def load_model(
    name_or_dir: str | Path,
    *,
    dataset: str | None = None,
    threat_model: str = "L2",
    device: str | torch.device | None = None,
) -> CertifiedClassifier:
    """Rebuild a model from its card and sha256-checked weights; no architecture code is needed.

    Raises UnknownModelError, ConfigError (threat model, device), CheckpointError, ChecksumError.
    """
    if threat_model != "L2":
        raise ConfigError(f"threat model {threat_model!r} is not supported; these certificates are for 'L2'")
    place = None if device is None else usable_device(str(device))
    directory, card = find_model(name_or_dir, dataset=dataset)
    model = load_network(card.model_dump(mode="json", by_alias=True), directory / WEIGHTS_FILE)
    return model if place is None else model.to(place)
