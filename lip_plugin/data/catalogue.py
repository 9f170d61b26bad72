"""Which data sets there are, and what is known of each: one record per set. Neither torch nor numpy.

A record is found through the entry-point group ``lip_plugin.datasets``; ours lie in ``sets/``, one file each.
Whoever asks for a set that no installed package knows gets none, and treats it as one of which nothing is known:
its pictures are not shown, and no board takes it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lip_plugin.errors import ConfigError
from lip_plugin.plugins import PluginGroup
from lip_plugin.types import ImageShape

if TYPE_CHECKING:
    from lip_plugin.data.readers import Reader

DATASETS = PluginGroup("lip_plugin.datasets", "data set")
"""Each entry names a `DataSet`, under the record's own name."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TestSplit:
    """The official test split. ``called`` is the official name of what is the test split here.

    ``digests`` gives what its images are known by (`lip_plugin.data.known`), 12 bytes each, in file order. Without
    them nobody can tell: such images count as somebody's own, and no board takes them.
    """

    images: int
    called: str = "test split"
    digests: Callable[[], bytes] | None = None

    __test__: ClassVar[bool] = False  # no test class for pytest to collect


@dataclass(frozen=True)
class RobustBench:
    """What RobustBench has of a data set under the same name (1.1.1: data.py, model_zoo, tests/test_clean_acc.py).

    ``own_choice``: which images it evaluates, in words, where that is not the whole test split; no claim can be made
    there. ``clean_accuracy``: percent on the first images that its fast test wants exceeded. ``leaderboard``: whether
    it has one for L2. ``dictionaries``: what the list of models in its ``model_zoo/<name>.py`` is called.
    ``preprocessing``: the key that entries need, of ``robustbench.data.PREPROCESSINGS``.
    """

    clean_accuracy: float | None = None
    leaderboard: bool = False
    dictionaries: str = ""
    own_choice: str = ""
    preprocessing: str | None = None


@dataclass(frozen=True)
class DataSet:
    """A data set. Whatever is not stated is taken as not allowed and not known.

    ``name`` stands in recipes, on cards and in commands, ``title`` in prose. ``image_shape`` is (C, H, W), of pictures
    of any size what is usually cut out of them. ``class_names`` are in the order of the labels, empty where the files
    have to say. ``standard_eps``: the L2 radius for pixels in [0,1] that papers compare by. ``may_be_shown``: its
    terms let anybody pass single images on. ``sok_radii``: those of the SoK board's settings, as the board writes
    them. ``files``: what lies in the folder that is read, for people; ``download`` puts both splits there.
    ``hub``: its name on the Hugging Face hub.

        DataSet("halves", "Halves", Arrays(read), image_shape=(1, 8, 8), num_classes=2)

    Raises ConfigError for a value that contradicts another one.
    """

    name: str
    title: str
    reader: Reader
    image_shape: ImageShape
    num_classes: int
    class_names: tuple[str, ...] = ()
    standard_eps: float | None = None
    test: TestSplit | None = None
    may_be_shown: bool = False
    robustbench: RobustBench | None = None
    sok_radii: tuple[str, ...] = ()
    files: str = ""
    hub: str | None = None
    download: Callable[[Path], None] | None = None

    def __post_init__(self) -> None:
        if len(self.image_shape) != 3 or min(self.image_shape) < 1 or self.num_classes < 2:
            found = f"{self.image_shape} in {self.num_classes} classes"
            raise ConfigError(f"data set {self.name!r}: images of {found}; expected (C, H, W) and 2 classes or more")
        if self.class_names and len(self.class_names) != self.num_classes:
            count = len(self.class_names)
            raise ConfigError(f"data set {self.name!r}: {count} class names for {self.num_classes} classes")
        if self.standard_eps is not None and not (math.isfinite(self.standard_eps) and self.standard_eps > 0):
            raise ConfigError(f"data set {self.name!r}: standard eps {self.standard_eps}; expected a positive number")


def dataset_names() -> list[str]:
    """Of all records, sorted. Imports none of them."""
    return DATASETS.names()


def get_dataset(name: str) -> DataSet:
    """The record of this name. Raises ConfigError (unknown, with the known ones), MissingDependencyError."""
    record = DATASETS.load(name)
    if not isinstance(record, DataSet):
        raise ConfigError(f"the data set {name!r} is a {type(record).__name__}; expected a lip_plugin.data.DataSet")
    if record.name != name:
        raise ConfigError(f"the entry point {name!r} holds the data set {record.name!r}; give both one name")
    return record


def find_dataset(name: str | None) -> DataSet | None:
    """The record of this name, None where nothing is known of it: a stranger's card may name any. Raises as above."""
    return get_dataset(name) if name is not None and name in DATASETS.names() else None


def list_datasets() -> list[DataSet]:
    """Every record, by name. One that cannot be loaded is left out, with a warning: it must not take others along."""
    found: list[DataSet] = []
    for name in DATASETS.names():
        try:
            found.append(get_dataset(name))
        except Exception as error:  # a stranger's module is imported
            logger.warning("the data set %r is left out: %s", name, error)
    return found
