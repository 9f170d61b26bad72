"""Which table a row belongs to: that of a data set whose images it is about, or that of own images."""

from __future__ import annotations

import dataclasses

from lip_plugin.data import DataSet, find_dataset
from lip_plugin.schema.report import DatasetSummary
from lip_plugin.types import OWN_IMAGES, ImageShape


def images_in_test_split(name: str | None) -> int | None:
    """How many official test images there are; None where nothing tells them from others, so that no row has them."""
    record = find_dataset(name)
    return None if record is None or record.test is None or record.test.digests is None else record.test.images


def told(images: DatasetSummary) -> DatasetSummary:
    """What a report says of its images, as far as they can have been told by their digests; else own images."""
    if images.name == OWN_IMAGES:
        return images
    official = images.of is not None and images.n <= images.of == images_in_test_split(images.name)
    return images if official else dataclasses.replace(images, name=OWN_IMAGES, of=None, of_classes=None)


def table_of_shape(name: str | None, shape: ImageShape) -> str:
    """The data set of this name where its images have this shape (C, H, W), else own images."""
    record: DataSet | None = find_dataset(name)
    return OWN_IMAGES if record is None or record.image_shape != shape else record.name
