"""The rule about images that several boards share."""

from __future__ import annotations

from lip_plugin.data import find_dataset
from lip_plugin.evaluate import DatasetSummary
from lip_plugin.submission.boards.board import Refusal


def split_refusals(images: DatasetSummary) -> list[Refusal]:
    """All images of the test split, in file order.

    Nothing is refused where no split is on record: what data sets a board takes is its own rule.
    """
    record = find_dataset(images.name)
    if record is None or record.test is None or (images.is_whole and images.in_order):
        return []
    expected = f"all {record.test.images:,} images of the {record.test.called}, in file order"
    return [Refusal(f"images of {record.title}", images.in_words, expected)]
