"""Which images an evaluation is about: told from their pixels, whatever their file is called."""

from __future__ import annotations

import numpy as np

from lip_plugin.data import LabelledImages
from lip_plugin.data.known import recognised
from lip_plugin.evaluate.results import DatasetSummary
from lip_plugin.types import OWN_IMAGES


def summarise_images(images: LabelledImages, num_classes: int | None = None) -> DatasetSummary:
    """Official test images by name, others as `OWN_IMAGES`, of a network's ``num_classes``.

    Raises DataError on an unreadable picture.
    """
    found, classes = recognised(images), len(np.unique(images.labels))
    if found is None:
        of = None if images.manifest is None else images.manifest.taken
        return DatasetSummary(OWN_IMAGES, "", len(images), images.source, classes, of=of, of_classes=num_classes)
    return DatasetSummary(
        found.name,
        "test",
        len(images),
        images.source,
        classes,
        of=found.of,
        in_order=found.in_order,
        of_classes=found.of_classes,
    )
