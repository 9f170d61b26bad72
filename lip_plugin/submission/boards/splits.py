"""Rules about images that several boards share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lip_plugin.submission.boards.board import Refusal
from lip_plugin.submission.robustbench.datasets import WholeSplit

Labels = npt.NDArray[np.int64]


def split_refusals(test_set: WholeSplit, split: str, labels: Labels) -> list[Refusal]:
    """The whole test split, told by its size, its classes and its first labels: pixels are not looked at."""
    if split != "test" or len(labels) != test_set.images:
        found = f"{len(labels):,} of the {split} split"
        return [Refusal(f"images of {test_set.title}", found, f"all {test_set.images:,} of the test split")]
    each = test_set.images // test_set.num_classes
    counts = np.bincount(labels[labels >= 0], minlength=test_set.num_classes)
    first = labels[: len(test_set.first_labels)].tolist()
    if counts.tolist() != [each] * test_set.num_classes or first != list(test_set.first_labels):
        return [Refusal(f"images of {test_set.title}", "other images, or another order", _in_words(test_set, each))]
    return []


def _in_words(test_set: WholeSplit, each: int) -> str:
    order = f", labels beginning with {_listed(test_set.first_labels)}" if test_set.first_labels else ""
    return f"the test split in file order: {each:,} of each of {test_set.num_classes} classes{order}"


def _listed(labels: Sequence[int]) -> str:
    return " ".join(map(str, labels))
