"""Models of the zoo as entries of RobustBench's own `model_dicts`."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lip_adapters.robustbench_adapter.compatibility import import_robustbench
from lip_plugin.errors import ConfigError
from lip_plugin.network import CertifiedClassifier
from lip_plugin.types import ImageShape
from lip_plugin.zoo import ModelCard, list_models, load_model, model_card


class _Images(NamedTuple):
    """What RobustBench's loader of a data set yields: float32 in [0,1]."""

    shape: ImageShape
    num_classes: int
    preprocessing: str | None = None  # key of robustbench.data.PREPROCESSINGS; entries of ImageNet need one


_DATASETS = {
    "cifar10": _Images((3, 32, 32), 10),
    "cifar100": _Images((3, 32, 32), 100),
    "imagenet": _Images((3, 224, 224), 1000, "Res256Crop224"),
}
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
    if preprocessing := _DATASETS[dataset].preprocessing:
        entry["preprocessing"] = preprocessing
    return entry


def _is_foreign(entry: dict[str, Any] | None) -> bool:
    return entry is not None and not isinstance(entry["model"], Factory)


def _open_dictionaries() -> dict[str, MutableMapping[str, dict[str, Any]]]:
    """RobustBench's L2 dictionary of each data set; those that it lacks are created."""
    zoo = import_robustbench().model_zoo
    threat_model = zoo.enums.ThreatModel(_THREAT_MODEL)
    return {
        dataset: zoo.model_dicts[zoo.enums.BenchmarkDataset(dataset)].setdefault(threat_model, OrderedDict())
        for dataset in _DATASETS
    }


# -- which models ---------------------------------------------------------------------------------


def _fitting_models() -> list[ModelCard]:
    cards = (model_card(name, dataset=dataset) for dataset in _DATASETS for name in list_models(dataset=dataset))
    return [card for card in cards if not _misfit(card)]


def _models_named(name: str) -> list[ModelCard]:
    """The model of this name for each data set that RobustBench has."""
    found = [model_card(name, dataset=dataset) for dataset in _DATASETS if name in list_models(dataset=dataset)]
    cards = found or [model_card(name)]
    for card in cards:
        if reason := _misfit(card):
            raise ConfigError(f"{name} cannot run inside RobustBench: {reason}")
    return cards


def _misfit(card: ModelCard) -> str:
    """Why a model cannot run there, in words; empty where it can."""
    images = _DATASETS.get(card.dataset or "")
    if images is None:
        return f"it knows {', '.join(_DATASETS)} and not {card.dataset}; use lp.load_model({card.name!r})"
    if card.input_shape != images.shape or card.num_classes != images.num_classes:
        return (
            f"its images of {card.dataset} are {images.shape} in {images.num_classes} classes, "
            f"the model takes {card.input_shape} in {card.num_classes}"
        )
    if card.dtype != "float32":
        return f"its images are float32, the model takes {card.dtype}; cast the trainable model before lp.freeze"
    return ""
