"""Image slices that come with the package, so that the demo needs no download."""

from __future__ import annotations

from importlib import resources

import numpy as np

from lip_plugin.data.catalogue import find_dataset
from lip_plugin.data.images import ImageSet, checked_image_set
from lip_plugin.errors import DataError

_FOLDER = resources.files("lip_plugin.data") / "slices"
_SUFFIX = "_test.npz"


def shipped_datasets() -> list[str]:
    """Names of the data sets of which a slice is shipped."""
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in _FOLDER.iterdir() if entry.name.endswith(_SUFFIX))


def load_shipped(dataset: str) -> ImageSet:
    """The first images of the official test file, in file order. See ``slices/ATTRIBUTION.md``. Raises DataError."""
    if dataset not in shipped_datasets():
        raise DataError(f"no images of {dataset} are shipped; shipped: {', '.join(shipped_datasets())}")
    with (_FOLDER / f"{dataset}{_SUFFIX}").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        pixels, labels = archive["x"], archive["y"]
    record = find_dataset(dataset)
    num_classes = None if record is None else record.num_classes
    source = f"shipped slice: first {len(labels)} images of the {dataset} test split"
    return checked_image_set(pixels, labels, name=dataset, source=source, num_classes=num_classes)
