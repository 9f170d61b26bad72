"""What an architecture is to the rest of the library: its settings, how they build a model, and what to cite.

An architecture is one file with a subclass of `ArchitectureConfig`, and one entry point that names the class:

    [project.entry-points."lip_plugin.architectures"]
    my_net = "my_package.my_net:MyNetConfig"

`lip train` then takes ``model: {architecture: my_net, ...}`` with the settings of that class and no others.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, get_args

from lip_plugin.errors import ConfigError
from lip_plugin.models.base import CertifiableModel
from lip_plugin.plugins import PluginGroup
from lip_plugin.untrusted.strict import StrictSettings

ARCHITECTURES = PluginGroup("lip_plugin.architectures", "architecture")
_DEFAULT = "liresnet_pp"
# A card cannot hold more (network/limits.py): better said before training than after.
_LARGEST_WEIGHTS = 2**31
_LAYERS = 1024


@dataclass(frozen=True)
class Citation:
    """Whose idea an architecture is, in the words of a model card; who made the weights is another question."""

    based_on: str | None = None
    paper: str | None = None
    link: str | None = None
    bibtex: str | None = None

    def on_card(self) -> dict[str, str]:
        """What there is to say, by the card's field."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class ArchitectureConfig(StrictSettings, ABC):
    """The settings of one architecture. A subclass declares them as fields, the first of them

        architecture: Literal["my_net"] = "my_net"

    with the name of its entry point. Unknown settings are errors.
    """

    citation: ClassVar[Citation] = Citation()

    @classmethod
    def name(cls) -> str:
        """What the field ``architecture`` allows; empty where a subclass does not declare it."""
        field = cls.model_fields.get("architecture")
        allowed = () if field is None else get_args(field.annotation)
        return str(allowed[0]) if len(allowed) == 1 else ""

    @abstractmethod
    def build(self, *, input_shape: tuple[int, int, int], num_classes: int) -> CertifiableModel:
        """The trainable model, freshly initialised from torch's global generator. Raises ConfigError."""

    def description(self) -> str:
        """One line for the card: the name and every size."""
        sizes = self.model_dump(mode="json", exclude={"architecture"})
        return " ".join([self.name(), *(f"{name}={value}" for name, value in sizes.items())])


def architecture_class(name: str) -> type[ArchitectureConfig]:
    """The settings class that is registered under a name. Raises ConfigError, MissingDependencyError."""
    found = ARCHITECTURES.load(name)
    if not (isinstance(found, type) and issubclass(found, ArchitectureConfig)) or inspect.isabstract(found):
        raise ConfigError(
            f"the architecture {name!r} is {found!r}; its entry point must name a subclass of ArchitectureConfig "
            "that defines build"
        )
    if found.name() != name:
        raise ConfigError(
            f"the architecture {name!r} is {found.__qualname__}, whose field architecture does not allow that name; "
            f"declare it as architecture: Literal[{name!r}] = {name!r}"
        )
    return found


def class_of_settings(values: Mapping[str, Any]) -> type[ArchitectureConfig]:
    """The class for a section ``model`` of a recipe, by its entry ``architecture``. Raises as `architecture_class`."""
    return architecture_class(str(values.get("architecture", _DEFAULT)))


def architecture_config(values: Mapping[str, Any]) -> ArchitectureConfig:
    """Validated settings from a section ``model`` of a recipe.

    Raises ConfigError for an unknown architecture, pydantic's ValidationError for settings that it does not have.
    """
    return class_of_settings(values).model_validate(dict(values))


def require_storable(*, weights: int, layers: int) -> None:
    """Raise ValueError (for a pydantic validator) where no card could hold a model of this size."""
    if weights > _LARGEST_WEIGHTS or layers > _LAYERS:
        raise ValueError(f"more than {_LARGEST_WEIGHTS} weights or {_LAYERS} layers; no such model can be stored")
