"""Models of one's own, known in every session: a folder of model directories. No torch."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.files import CARD_FILE, TRAINABLE_FILE, WEIGHTS_FILE, complete_directory
from lip_plugin.zoo.card import ModelCard, read_card
from lip_plugin.zoo.weights import require_weights

MODELS_FOLDER = "LIP_PLUGIN_MODELS"
"""The environment variable that names the folder; without it, it lies where the system keeps a user's data."""

_FILES = frozenset({CARD_FILE, WEIGHTS_FILE, TRAINABLE_FILE})
"""What is kept of a model directory; the last one only where it is there."""

logger = logging.getLogger(__name__)


def models_folder() -> Path:
    """It need not exist."""
    given = os.environ.get(MODELS_FOLDER)
    return Path(given) if given else platformdirs.user_data_path("lip-plugin", appauthor=False) / "models"


def own_models() -> Iterator[tuple[Path, ModelCard]]:
    """By folder name. One without a valid card is passed over with a warning: the others must not be lost with it."""
    folder = models_folder()
    for directory in sorted(folder.iterdir()) if folder.is_dir() else ():
        if directory.name.startswith(".") or not directory.is_dir():
            continue
        try:
            yield directory, read_card(directory)
        except CheckpointError as error:
            logger.warning("%s; it is not listed", error)


def copy_model(directory: Path, card: ModelCard, *, replace: bool) -> Path:
    """Copy card and weights of ``directory`` into the folder; returns where they are, complete or not at all.

    Raises ConfigError where there is one of this name and ``replace`` does not allow it, ChecksumError where the
    weights are not the card's, CheckpointError where they cannot be read.
    """
    require_weights(directory / WEIGHTS_FILE, card, str(directory / WEIGHTS_FILE))
    to = models_folder() / (card.name if card.dataset is None else f"{card.name}@{card.dataset}")
    to.parent.mkdir(parents=True, exist_ok=True)
    with complete_directory(to, replaceable=_FILES if replace else frozenset[str]()) as folder:
        for name in sorted(_FILES & set(os.listdir(directory))):
            shutil.copyfile(directory / name, folder / name)
    return to


def delete_model(directory: Path) -> None:
    """Of the folder, and only what `copy_model` put there. Raises ConfigError for another one."""
    if directory.parent != models_folder():
        raise ConfigError(f"{directory} was not added by lip add; only what lies in {models_folder()} is removed")
    others = sorted({entry.name for entry in directory.iterdir()} - _FILES)
    if others:
        raise ConfigError(f"{directory} holds {others[0]}, which lip add did not put there; remove it by hand")
    shutil.rmtree(directory)
