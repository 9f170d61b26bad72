"""From a checkpoint file to a model directory: what ``lip convert`` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lip_plugin.files import complete_directory
from lip_plugin.network import CertifiedClassifier
from lip_plugin.network.record import write_network
from lip_plugin.published.convert import converted
from lip_plugin.published.implementation import get_implementation
from lip_plugin.published.reading import published_folder, read_checkpoint
from lip_plugin.published.unwrap import unwrapped


@dataclass(frozen=True)
class Converted:
    """A network and the config that it was built from, of which ``told`` came from the weights' shapes."""

    implementation: str
    network: CertifiedClassifier
    config: dict[str, Any]
    told: tuple[str, ...]

    def write(self, directory: Path, *, name: str, dataset: str | None, replaceable: frozenset[str]) -> None:
        """A new model directory, whole or not at all; its card cites the implementation's paper. Raises ConfigError."""
        sizes = " ".join(f"{key}={value}" for key, value in self.config.items())
        description = {
            "name": name,
            "dataset": dataset,
            "architecture": f"{self.implementation} {sizes}",
            **get_implementation(self.implementation).citation.on_card(),
        }
        with complete_directory(directory, replaceable=replaceable) as folder:
            write_network(self.network, folder, description)


def convert_file(
    path: Path, implementation: str, *, given: Mapping[str, Any], key: str | None = None, widen: bool = False
) -> Converted:
    """Read, find the weights, infer the sizes that are not ``given``, convert. ``widen``: half precision to float32.

    ``path`` may be a folder with weights and configuration, where the implementation publishes such. Raises
    CheckpointError and ConfigError.
    """
    converter = get_implementation(implementation)
    if converter.of_file is not None and path.is_dir():
        path, settings = published_folder(path)
        given = {**converter.of_file(settings), **given}
    checkpoint = read_checkpoint(path)
    state = unwrapped(_widened(checkpoint) if widen else checkpoint, converter.needed, key=key)
    told = converter.sizes(state)
    config = {**told, **given}
    network = converted(implementation, config, state)
    return Converted(implementation, network, config, tuple(name for name in told if name not in given))


def _widened(value: object) -> object:
    """Half precision tensors as float32, which holds every number of theirs; containers as they are."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, Mapping):
        return {key: _widened(entry) for key, entry in value.items()}
    return value
