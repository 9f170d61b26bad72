"""Rules about images that several boards share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lip_plugin.data import DataSet, TestSplit, find_dataset
from lip_plugin.submission.boards.board import Refusal

Labels = npt.NDArray[np.int64]


def split_refusals(dataset: str, split: str, labels: Labels) -> list[Refusal]:
    """The whole test split, told by its size, its classes and its first labels: pixels are not looked at.

    Nothing is refused where no split is on record: what data sets a board takes is its own rule.
    """
    record = find_dataset(dataset)
    if record is None or record.test is None:
        return []
    rule, test = f"images of {record.title}", record.test
    if split != "test" or len(labels) != test.images:
        found = f"{len(labels):,} of the {split} split"
        return [Refusal(rule, found, f"all {test.images:,} of the {test.called}")]
    counts = np.bincount(labels[labels >= 0], minlength=record.num_classes).tolist()
    uneven = test.balanced and counts != [test.images // record.num_classes] * record.num_classes
    if uneven or labels[: len(test.first_labels)].tolist() != list(test.first_labels):
        return [Refusal(rule, "other images, or another order", _in_words(record, test))]
    return []


def _in_words(record: DataSet, test: TestSplit) -> str:
    each = f": {test.images // record.num_classes:,} of each of {record.num_classes} classes" if test.balanced else ""
    order = f", labels beginning with {_listed(test.first_labels)}" if test.first_labels else ""
    return f"the {test.called} in file order{each}{order}"


def _listed(labels: Sequence[int]) -> str:
    return " ".join(map(str, labels))
