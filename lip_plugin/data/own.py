"""Somebody's own images by one string: ``npz:FILE``, ``folder:DIR?size=32``, ``shards:DIR``. Neither torch nor numpy.

A kind is found through the entry-point group ``lip_plugin.images``; ours lie in ``kinds/``, one file each.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lip_plugin.data.catalogue import dataset_names
from lip_plugin.data.readers import Cut
from lip_plugin.errors import ConfigError, DataError, close_matches
from lip_plugin.plugins import PluginGroup, read_settings, written_settings
from lip_plugin.untrusted import printable

if TYPE_CHECKING:
    from lip_plugin.data.labelled import LabelledImages

IMAGES = PluginGroup("lip_plugin.images", "kind of images")
_FILE_KIND, _FILE_SUFFIX = "npz", ".npz"
FORMS = "npz:FILE, folder:DIR or shards:DIR"
"""Of our own kinds, in messages."""


class OwnImages(ABC):
    """Images at one place, which their owner gave; nothing is known of them but what is read."""

    @abstractmethod
    def images(self, split: str, cut: Cut, classes: tuple[str, ...] = ()) -> LabelledImages:
        """The "train" or the "test" split. ``cut`` is how pictures of any size are cut where nothing else is said.

        ``classes`` are those of a network that will see them, if it knows their names: they number the classes found.
        Raises DataError, which says what was looked for.
        """


ImagesFactory = Callable[[str, Mapping[str, Any]], OwnImages]
"""(place, settings) -> images. Raises ConfigError for settings that it does not know."""


@dataclass(frozen=True)
class ImagesSpec:
    """``kind:place[?key=value&key=value]``, or a file ``NAME.npz`` alone, for which ``kind`` is "" here."""

    kind: str
    place: str
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def shown(self) -> str:
        """Without the folders above it: what a report or a card may say."""
        return f"{self.kind}{':' if self.kind else ''}{place_name(self.place)}{written_settings(self.settings)}"


def place_name(place: str | Path) -> str:
    """Of a file or folder, also of ``.``; without the folders above it."""
    return os.path.basename(os.path.abspath(place)) or "root"


def parse_images(text: str) -> ImagesSpec | None:
    """None where the text is the name of a data set. Raises DataError where it is neither, and ConfigError."""
    kind, colon, rest = text.partition(":")
    if colon and kind in IMAGES.names():
        place, _, query = rest.partition("?")
        if not place:
            raise ConfigError(f"{printable(repr(text), longest=80)} names no place; expected {FORMS}")
        return ImagesSpec(kind, place, read_settings(query, printable(repr(text), longest=80)))
    known = dataset_names()
    if text in known:
        return None
    if text.endswith(_FILE_SUFFIX) or Path(text).is_file():
        return ImagesSpec("", text)
    shown = printable(repr(text), longest=80)
    if Path(text).is_dir():
        raise DataError(
            f"{shown} is a folder; say what it holds: folder:DIR for class folders of pictures, or shards:DIR"
        )
    raise DataError(
        f"no such data set as {shown}; known: {', '.join(known)}.{close_matches(text[:80], known)} Your own images are "
        f"{FORMS}: an .npz with arrays x and y, or DIR/train/<class>/ and DIR/val/<class>/ with pictures"
    )


def open_images(spec: ImagesSpec) -> OwnImages:
    """Raises ConfigError, MissingDependencyError; the place is looked at when images are read."""
    return cast("ImagesFactory", IMAGES.load(spec.kind or _FILE_KIND))(spec.place, spec.settings)


def refuse_others(settings: Mapping[str, Any], known: Collection[str], kind: str) -> None:
    """Raises ConfigError for a setting that is none of ``known``."""
    for name in settings.keys() - set(known):
        raise ConfigError(f"{kind}: has no setting {name!r}; known: {', '.join(known) or 'none'}")
