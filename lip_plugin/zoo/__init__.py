"""Models by name: cards, registry, loading. Only `load_model` imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lip_plugin.zoo.card import ModelCard as ModelCard
from lip_plugin.zoo.card import Provenance as Provenance
from lip_plugin.zoo.card import read_card as read_card
from lip_plugin.zoo.integrations import register_with_robustbench as register_with_robustbench
from lip_plugin.zoo.registry import add_model as add_model
from lip_plugin.zoo.registry import find_model as find_model
from lip_plugin.zoo.registry import list_cards as list_cards
from lip_plugin.zoo.registry import list_models as list_models
from lip_plugin.zoo.registry import model_card as model_card
from lip_plugin.zoo.registry import register_model as register_model
from lip_plugin.zoo.registry import remove_model as remove_model
from lip_plugin.zoo.stores.store import push_model as push_model

if TYPE_CHECKING:
    from lip_plugin.zoo.load import load_model as load_model


def __getattr__(name: str) -> Any:
    if name == "load_model":
        from lip_plugin.zoo.load import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
