"""A store of models: from a reference such as ``hf:owner/name`` to a model directory of checked files. No torch."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import cast

import platformdirs
from filelock import FileLock

from lip_plugin.errors import CheckpointError, ChecksumError, ConfigError
from lip_plugin.files import CARD_FILE, WEIGHTS_FILE, complete_directory
from lip_plugin.plugins import PluginGroup
from lip_plugin.untrusted import printable, read_regular
from lip_plugin.zoo.card import LARGEST_CARD, ModelCard, parse_card, read_card
from lip_plugin.zoo.weights import require_weights

STORES = PluginGroup("lip_plugin.stores", "weight store")
"""By scheme; each entry names a `Store`."""

CACHE_FOLDER = "LIP_PLUGIN_CACHE"
"""The environment variable that names the folder of fetched models; without it, where the system keeps caches."""
OFFLINE = ("LIP_PLUGIN_OFFLINE", "HF_HUB_OFFLINE")
"""Either of these environment variables, set to 1, lets nothing be asked of the network."""

_REFERENCE = re.compile(r"([a-z][a-z0-9+.-]+):(.*)", re.DOTALL)  # two letters and more: one is a drive of Windows
_LONGEST = 2000  # characters


class Store(ABC):
    """What one scheme stands for. A store is one class and one entry point of the group ``lip_plugin.stores``."""

    @abstractmethod
    def fetch(self, place: str) -> Path:
        """A folder in which the model's files are, of `kept` or its own; ``place`` is what follows the colon.

        Raises ConfigError for what is no place, CheckpointError where there is no model, or it cannot be reached.
        """

    def push(self, directory: Path, card: ModelCard, place: str) -> str:
        """Put the model there; returns where people find it. Raises ConfigError where nothing can be put."""
        raise ConfigError(f"nothing can be pushed to {printable(place, longest=80)}; push to hf:owner/name")


def is_reference(name: str) -> bool:
    """Whether a name says where a model is: ``scheme:place`` of a store, or anything with ``://``."""
    match = _REFERENCE.fullmatch(name)
    return match is not None and (match[1] in STORES.names() or match[2].startswith("//"))


def shown_reference(name: str) -> str | None:
    """As others may read it, without what an address asks with, which may be a password; None for another name."""
    return shown_address(name) if is_reference(name) else None


def shown_address(address: str) -> str:
    """Without what it asks with, and without who asks."""
    return re.sub(r"//[^/?#]*@", "//", re.sub(r"\?[^#]*", "", address))


def store_of(reference: str) -> tuple[Store, str]:
    """And what follows the colon. Raises ConfigError for an unknown scheme, MissingDependencyError."""
    scheme, _, place = reference.partition(":")
    if not place or len(reference) > _LONGEST or not reference.isprintable():
        raise ConfigError(f"{printable(reference, longest=80)!r} is no place of a model; give one as hf:owner/name")
    return cast("type[Store]", STORES.load(scheme))(), place


@cache
def fetched(reference: str) -> Path:
    """The model directory of a reference; asked for once in a process. Raises as `Store.fetch`, ChecksumError."""
    store, place = store_of(reference)
    return store.fetch(place)


def push_model(directory: str | Path, reference: str) -> str:
    """Put a model directory into a store, as ``hf:owner/name``; returns where people find it.

    Raises CheckpointError for no model directory, ChecksumError for other weights than its card's, ConfigError for no
    place where anything can be put; as `Store.push`.
    """
    folder = Path(directory)
    card = read_card(folder)
    require_weights(folder / WEIGHTS_FILE, card, str(folder / WEIGHTS_FILE))
    store, place = store_of(reference)
    return store.push(folder, card, place)


def cache_folder() -> Path:
    """It need not exist."""
    given = os.environ.get(CACHE_FOLDER)
    return Path(given) if given else platformdirs.user_cache_path("lip-plugin", appauthor=False)


def is_offline() -> bool:
    return any(os.environ.get(name, "").lower() in ("1", "on", "yes", "true") for name in OFFLINE)


def kept_place(card: bytes) -> Path:
    """Where the model with this card is kept, if it is: by the card's content, which names that of the weights."""
    return cache_folder() / "models" / hashlib.sha256(card).hexdigest()


def is_kept(place: Path) -> bool:
    """Whether the model is there, as it was put: what a disk has damaged is not, and is fetched again."""
    try:
        content = read_regular(place / CARD_FILE, limit=LARGEST_CARD)
        require_weights(place / WEIGHTS_FILE, parse_card(content, str(place)), str(place))
    except (OSError, CheckpointError, ChecksumError):
        return False
    return kept_place(content).name == place.name


@contextmanager
def alone(model: str) -> Generator[None]:
    """One at a time of all processes that want the same model in the cache; not where its disk knows no locks.

    Raises ConfigError where the cache cannot be written.
    """
    lock = FileLock(cache_folder() / "locks" / model)
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        with suppress(NotImplementedError):
            lock.acquire()
    except OSError as error:
        raise unwritable(error) from error
    try:
        yield
    finally:
        lock.release()


def kept(card_file: Path, weights: Path, source: str) -> Path:
    """The model directory in the cache: the files of a store, which may be links, copied and hashed.

    Raises CheckpointError for what is no card or cannot be read, ChecksumError for other weights than the card's,
    ConfigError where the cache cannot be written.
    """
    content = _read_card(card_file, source)
    card, place = parse_card(content, source), kept_place(content)
    if not is_kept(place):
        with alone(card.sha256):
            if not is_kept(place):  # by another process meanwhile
                put(place, content, card, weights, source)
    return place


def put(place: Path, content: bytes, card: ModelCard, weights: Path, source: str) -> None:
    """Raises as `kept`."""
    require_weights(weights, card, f"{source}: {WEIGHTS_FILE}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with complete_directory(place, replaceable=frozenset({CARD_FILE, WEIGHTS_FILE})) as folder:
            (folder / CARD_FILE).write_bytes(content)
            shutil.copyfile(weights, folder / WEIGHTS_FILE)
    except OSError as error:
        raise unwritable(error) from error


def unwritable(error: OSError) -> ConfigError:
    return ConfigError(
        f"{cache_folder()}: {error.strerror or error}; fetched models are kept there, make room or set {CACHE_FOLDER}"
    )


def _read_card(path: Path, source: str) -> bytes:
    try:
        return read_regular(path, limit=LARGEST_CARD, links=True)
    except OSError as error:
        raise CheckpointError(f"{source} holds no model: {error.strerror or error} ({CARD_FILE})") from error
