"""Which models there are: directories shipped in packages, and directories registered by the user. No torch."""

from __future__ import annotations

import fnmatch
import importlib.util
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from lip_plugin.errors import CheckpointError, ConfigError, UnknownModelError, close_matches
from lip_plugin.files import CARD_FILE
from lip_plugin.plugins import PluginGroup
from lip_plugin.zoo.card import ModelCard, read_card
from lip_plugin.zoo.own import copy_model, delete_model, own_models
from lip_plugin.zoo.stores.store import fetched, is_reference

MODELS = PluginGroup("lip_plugin.models", "package of models")
"""Each entry names a package whose folders are model directories: resources, not imported code."""

_registered: dict[tuple[str, str | None], Path] = {}


def list_models(pattern: str = "*", *, dataset: str | None = None) -> list[str]:
    """Names of all models that match a shell pattern, sorted."""
    return sorted(
        {
            card.name
            for _, card in _all_models()
            if fnmatch.fnmatchcase(card.name.lower(), pattern.lower()) and dataset in (None, card.dataset)
        }
    )


def list_cards() -> list[ModelCard]:
    """The cards of all models, by name and data set."""
    return sorted((card for _, card in _all_models()), key=lambda card: (card.name, card.dataset or ""))


def model_card(name: str | Path, *, dataset: str | None = None) -> ModelCard:
    """The card of a model by name or directory. Raises as `find_model`."""
    return find_model(name, dataset=dataset)[1]


def register_model(directory_or_card: str | Path | ModelCard, *, replace: bool = False) -> None:
    """Make a model directory known by its card's name for this process.

    Raises CheckpointError for an invalid directory and ConfigError for a name that is taken. A card
    alone cannot be registered: it has no weights.
    """
    if isinstance(directory_or_card, ModelCard):
        raise ConfigError("a card has no weights; register the model directory that holds it")
    directory = Path(directory_or_card).resolve()
    card = read_card(directory)
    taken = {(known.name, known.dataset) for _, known in _all_models()}
    if (card.name, card.dataset) in taken and not replace:
        raise ConfigError(f"a model {card.name!r} for {card.dataset} is known already; pass replace=True to replace it")
    _registered[card.name, card.dataset] = directory


def add_model(directory: str | Path, *, replace: bool = False) -> ModelCard:
    """Copy a model directory to where its name is known in every session (`models_folder`).

    Raises CheckpointError for an invalid directory, ChecksumError for other weights than the card's, ConfigError for a
    name that is taken: by another of one's own unless ``replace`` says so, by a shipped model in any case.
    """
    card = read_card(Path(directory))
    named = (card.name, card.dataset)
    own = named in {(known.name, known.dataset) for _, known in own_models()}
    taken = named in {(known.name, known.dataset) for _, known in _all_models()}
    if taken and not (own and replace):
        way = "replace it, or give" if own else "give"
        of = "" if card.dataset is None else f" for {card.dataset}"
        raise ConfigError(f"a model {card.name!r}{of} is known already; {way} yours another name")
    copy_model(Path(directory), card, replace=replace)
    return card


def remove_model(name: str, *, dataset: str | None = None) -> ModelCard:
    """Undo `add_model`. Raises as `find_model`, and ConfigError for a model that was not added."""
    directory, card = find_model(name, dataset=dataset)
    delete_model(directory)
    return card


def find_model(name_or_dir: str | Path, *, dataset: str | None = None) -> tuple[Path, ModelCard]:
    """Directory and card of a zoo name, a model directory or a reference such as ``hf:owner/name``.

    ``dataset`` fills a directory's card that names none. Raises UnknownModelError (with close matches), ConfigError
    where the name exists for several data sets and none was chosen, CheckpointError for a directory without a valid
    card; as `fetched` for a reference.
    """
    if not isinstance(name_or_dir, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"{type(name_or_dir).__name__} is not a model name or directory; for a torch module use lp.wrap"
        )
    is_elsewhere = isinstance(name_or_dir, str) and is_reference(name_or_dir)
    if is_elsewhere or isinstance(name_or_dir, Path) or _looks_like_path(name_or_dir):
        directory = fetched(str(name_or_dir)) if is_elsewhere else Path(name_or_dir)
        card = read_card(directory)
        if dataset is not None and card.dataset is None:
            card = card.model_copy(update={"dataset": dataset})
        if dataset not in (None, card.dataset):
            raise UnknownModelError(f"{directory} is a model for {card.dataset}, not for {dataset}")
        return directory, card
    named = {card.dataset: (directory, card) for directory, card in _all_models() if card.name == name_or_dir}
    matching = [entry for of, entry in named.items() if dataset in (None, of)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ConfigError(f"{name_or_dir} exists for {sorted(map(str, named))}; choose one with dataset=...")
    known = list_models()
    suffix = f" for data set {dataset}" if dataset else ""
    raise UnknownModelError(
        f"no model {name_or_dir!r}{suffix}.{close_matches(name_or_dir, known)} Known: {', '.join(known) or 'none'}"
    )


def _looks_like_path(name: str) -> bool:
    return "/" in name or "\\" in name or name in (".", "..") or os.path.isfile(os.path.join(name, CARD_FILE))


def _all_models() -> Iterator[tuple[Path, ModelCard]]:
    """Registered directories first, then those added: the first of a name stands in for others."""
    seen: set[tuple[str, str | None]] = set()
    registered = ((directory, read_card(directory)) for directory in _registered.values())
    shipped = ((directory, read_card(directory)) for directory in _shipped_directories())
    for directory, card in chain(registered, own_models(), shipped):
        if (card.name, card.dataset) not in seen:
            seen.add((card.name, card.dataset))
            yield directory, card


def _shipped_directories() -> Iterator[Path]:
    for entry in MODELS.entries():
        spec = importlib.util.find_spec(entry.value)
        if spec is None or spec.submodule_search_locations is None:
            raise CheckpointError(f"entry point {entry.name!r} names {entry.value}, which is not an installed package")
        for location in spec.submodule_search_locations:
            yield from sorted(path.parent for path in Path(location).glob(f"*/{CARD_FILE}"))
