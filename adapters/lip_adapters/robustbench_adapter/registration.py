"""Models of the zoo as entries of RobustBench's own `model_dicts`."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from lip_adapters.robustbench_adapter.compatibility import import_robustbench
from lip_plugin.data import DataSet, list_datasets
from lip_plugin.errors import ConfigError
from lip_plugin.network import CertifiedClassifier
from lip_plugin.zoo import ModelCard, list_models, load_model, model_card

_THREAT_MODEL = "L2"


@dataclass(frozen=True)
class Factory:
    """What `robustbench.utils.load_model` calls: the frozen network by name, weights checked.

    Raises what `lp.load_model` raises; there is no network without its weights.
    """

    name: str
    dataset: str

    def __call__(self) -> CertifiedClassifier:
        return load_model(self.name, dataset=self.dataset)


def register(names: Iterable[str] | None = None) -> list[str]:
    """Enter models under their names for threat model L2; returns the names that are there now, sorted.

    None takes every model of the zoo that RobustBench has the data set for. Its own entries are never
    replaced: with None they stay, with a warning. Calling it again adds what was registered since. Raises
    UnknownModelError; ConfigError for a named model that cannot run there, or whose name RobustBench uses;
    MissingDependencyError.
    """
    cards = _fitting_models() if names is None else [card for name in names for card in _models_named(name)]
    dictionaries = _open_dictionaries()
    for card in cards:
        if _is_foreign(dictionaries[str(card.dataset)].get(card.name)):
            message = f"RobustBench has a model {card.name!r} for {card.dataset} of its own, which is kept"
            if names is not None:
                raise ConfigError(f"{message}; give yours another name")
            warnings.warn(message, stacklevel=3)
    entered = [card for card in cards if not _is_foreign(dictionaries[str(card.dataset)].get(card.name))]
    for card in entered:
        dictionaries[str(card.dataset)][card.name] = _entry(card)
    return sorted({card.name for card in entered})


def _entry(card: ModelCard) -> dict[str, Any]:
    dataset = str(card.dataset)
    # With an empty list of weights RobustBench reads and fetches none, and returns what the factory made.
    entry: dict[str, Any] = {"model": Factory(card.name, dataset), "gdrive_id": []}
    facts = _datasets()[dataset].robustbench
    if facts is not None and facts.preprocessing is not None:
        entry["preprocessing"] = facts.preprocessing
    return entry


def _is_foreign(entry: dict[str, Any] | None) -> bool:
    return entry is not None and not isinstance(entry["model"], Factory)


def _open_dictionaries() -> dict[str, MutableMapping[str, dict[str, Any]]]:
    """RobustBench's L2 dictionary of each data set; those that it lacks are created."""
    zoo = import_robustbench().model_zoo
    threat_model = zoo.enums.ThreatModel(_THREAT_MODEL)
    return {
        dataset: zoo.model_dicts[zoo.enums.BenchmarkDataset(dataset)].setdefault(threat_model, OrderedDict())
        for dataset in _datasets()
    }


def _datasets() -> dict[str, DataSet]:
    """Those that RobustBench has. Its loader of each yields float32 in [0,1]."""
    return {dataset.name: dataset for dataset in list_datasets() if dataset.robustbench is not None}


# -- which models ---------------------------------------------------------------------------------


def _fitting_models() -> list[ModelCard]:
    cards = (model_card(name, dataset=dataset) for dataset in _datasets() for name in list_models(dataset=dataset))
    return [card for card in cards if not _misfit(card)]


def _models_named(name: str) -> list[ModelCard]:
    """The model of this name for each data set that RobustBench has."""
    found = [model_card(name, dataset=dataset) for dataset in _datasets() if name in list_models(dataset=dataset)]
    cards = found or [model_card(name)]
    for card in cards:
        if reason := _misfit(card):
            raise ConfigError(f"{name} cannot run inside RobustBench: {reason}")
    return cards


def _misfit(card: ModelCard) -> str:
    """Why a model cannot run there, in words; empty where it can."""
    known = _datasets()
    images = known.get(card.dataset or "")
    if images is None:
        return f"it knows {', '.join(known)} and not {card.dataset}; use lp.load_model({card.name!r})"
    if card.input_shape != images.image_shape or card.num_classes != images.num_classes:
        return (
            f"its images of {card.dataset} are {images.image_shape} in {images.num_classes} classes, "
            f"the model takes {card.input_shape} in {card.num_classes}"
        )
    if card.dtype != "float32":
        return f"its images are float32, the model takes {card.dtype}; cast the trainable model before lp.freeze"
    return ""
