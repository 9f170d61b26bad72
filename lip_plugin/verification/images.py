"""The images that a bundle speaks of: given by the verifier, included in the bundle, or shipped with this package."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lip_plugin.data import ImageSet, LabelledImages, checked_image_set, load_shipped, shipped_datasets
from lip_plugin.data.archives import UNREADABLE, require_honest_sizes, require_lone_entries
from lip_plugin.errors import CheckpointError, DataError
from lip_plugin.network import CertifiedClassifier
from lip_plugin.submission.layout import IMAGES
from lip_plugin.submission.manifest import Manifest
from lip_plugin.untrusted import few, read_regular
from lip_plugin.zoo import ModelCard

Images = Callable[[ModelCard, int], LabelledImages]
"""(card, how many) -> the first images of its data set. Raises DataError where there are none."""

_LARGEST_ITEM = 8  # bytes: float64 pixels
_ROOM = 2**16


def bundle_images(
    directory: Path, manifest: Manifest, card: ModelCard, model: CertifiedClassifier, given: Images | None
) -> LabelledImages:
    """Those that were given, else those of the bundle, else the shipped ones.

    Raises DataError where there are none, ConfigError, and CheckpointError where those of the bundle are none.
    """
    if given is not None:
        return given(card, manifest.n)
    if IMAGES in manifest.files:
        return included_images(directory, manifest, model)
    if card.dataset not in shipped_datasets():
        raise DataError(f"no images of {card.dataset} are shipped; give --data-dir DIR or --data FILE.npz")
    return load_shipped(card.dataset).first(manifest.n)


def included_images(directory: Path, manifest: Manifest, model: CertifiedClassifier) -> ImageSet:
    """A stranger's archive: nothing is unpacked beyond what the images should take. Raises CheckpointError."""
    channels, height, width = model.input_shape
    limit = manifest.n * (channels * height * width + 1) * _LARGEST_ITEM + _ROOM
    try:
        content = read_regular(directory / IMAGES, limit=limit)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > limit:
                raise CheckpointError(f"{IMAGES} would unpack to more than {manifest.n} images")
            require_lone_entries(content, archive)
            require_honest_sizes(archive, ("x", "y"))
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            if set(arrays.files) != {"x", "y"}:
                raise CheckpointError(f"{IMAGES} holds {few(arrays.files)}; expected x and y")
            pixels, labels = arrays["x"], arrays["y"]
        return checked_image_set(pixels, labels, name=manifest.dataset, source=IMAGES)
    except (DataError, *UNREADABLE) as error:
        raise CheckpointError(f"{IMAGES} cannot be read: {error}") from error
