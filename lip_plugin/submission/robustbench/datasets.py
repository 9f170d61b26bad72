"""What RobustBench evaluates on, and what it asks of a model there.

Source: RobustBench 1.1.1, `data.py`, `model_zoo` and `tests/test_clean_acc.py`; of each data set, its record.
"""

from __future__ import annotations

from dataclasses import dataclass

from lip_plugin.data import DataSet, find_dataset, list_datasets
from lip_plugin.types import ImageShape

EPS = 0.5
"""The radius of its L2 leaderboard."""

ATTACK = "autoattack"
"""Its attack: the standard version, without settings."""

FAST_TEST_IMAGES = 200
"""Its fast test measures clean accuracy on so many images, the first ones."""


@dataclass(frozen=True)
class WholeSplit:
    """A data set of which RobustBench evaluates the whole test split; fields as in `RobustBench`."""

    name: str
    title: str
    image_shape: ImageShape
    num_classes: int
    clean_accuracy: float
    leaderboard: bool
    dictionaries: str


def whole_split(dataset: DataSet | None) -> WholeSplit | None:
    """None where the data set cannot be evaluated as RobustBench does, or is not known."""
    facts = None if dataset is None else dataset.robustbench
    if dataset is None or facts is None or facts.clean_accuracy is None or facts.own_choice:
        return None
    return WholeSplit(
        dataset.name,
        dataset.title,
        dataset.image_shape,
        dataset.num_classes,
        facts.clean_accuracy,
        facts.leaderboard,
        facts.dictionaries,
    )


def evaluated_names() -> list[str]:
    """Of the data sets that can be evaluated as RobustBench does."""
    return [dataset.name for dataset in list_datasets() if whole_split(dataset) is not None]


def test_set_of(name: str, image_shape: ImageShape, num_classes: int) -> WholeSplit | None:
    """The data set of RobustBench that these images are; None where it has none such."""
    known = whole_split(find_dataset(name))
    fits = known is not None and (known.image_shape, known.num_classes) == (image_shape, num_classes)
    return known if fits else None
