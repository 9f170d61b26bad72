"""Weights against their card, before anything reads them. No torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lip_plugin.errors import CheckpointError, ChecksumError
from lip_plugin.zoo.card import ModelCard

_CHUNK = 2**20


def require_weights(path: Path, card: ModelCard, source: str) -> None:
    """Raise ChecksumError where the file is not the card's, CheckpointError where it cannot be read.

    ``source`` says in the message where it is from.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_CHUNK)
            found = hashlib.sha256(start)
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    except OSError as error:
        raise CheckpointError(f"{source} cannot be read: {error.strerror or error}") from error
    if found.hexdigest() != card.sha256:
        page = "is a web page and " if start[:64].lstrip().startswith(b"<") else ""
        raise ChecksumError(
            f"{source} {page}has sha256 {found.hexdigest()}, its card says {card.sha256}; fetch the model again"
        )
