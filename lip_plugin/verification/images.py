"""The images that a bundle speaks of: given by the verifier, included in the bundle, or shipped with this package."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator

import numpy as np

from lip_plugin.data import ImageSet, LabelledImages, checked_image_set, load_shipped, shipped_datasets
from lip_plugin.data.archives import UNREADABLE, require_honest_sizes, require_lone_entries
from lip_plugin.errors import CheckpointError, DataError
from lip_plugin.submission.images_digest import images_sha256
from lip_plugin.submission.layout import IMAGES, MANIFEST
from lip_plugin.untrusted import few, read_regular
from lip_plugin.verification.bundle import Bundle
from lip_plugin.verification.checks import Check, EndedError, Gap, ending
from lip_plugin.zoo import ModelCard

Images = Callable[[ModelCard, int], LabelledImages]
"""(card, how many) -> the first images of its data set. Raises DataError where there are none."""

_LARGEST_ITEM = 8  # bytes: float64 pixels
_ROOM = 2**16
_ENTRIES = {"x.npy", "y.npy"}


def bundle_images(bundle: Bundle, given: Images | None) -> LabelledImages:
    """Those that were given, else those of the bundle, else the shipped ones.

    Raises EndedError where there are none, or those of the bundle are none; ConfigError.
    """
    card, n = bundle.claimed.card, bundle.manifest.n
    if given is None and IMAGES in bundle.manifest.files:
        with ending(IMAGES, "images", "readable"):
            return _included_images(bundle)
    try:
        if given is not None:
            return given(card, n)
        if card.dataset not in shipped_datasets():
            raise DataError(f"no images of {card.dataset} are shipped; give --data-dir DIR or --data FILE.npz")
        return load_shipped(card.dataset).first(n)
    except DataError as error:
        what = "images, certificates, accuracies and adversarial points"
        raise EndedError(Gap(MANIFEST, what, "", f"not checked: {error}")) from error


def image_checks(bundle: Bundle, images: LabelledImages, *, given: bool) -> Iterator[Check]:
    """Those of `bundle_images`, and those in the bundle where they were ``given``.

    Raises EndedError where they are others: nothing else can be compared.
    """
    model, n, claimed = bundle.claimed.model, bundle.manifest.n, bundle.claimed.images_sha256
    if given and IMAGES in bundle.manifest.files:
        yield Check(IMAGES, "images (sha256)", claimed, _included_sha256(bundle))
    if images.image_shape != model.input_shape or len(images) != n:
        measured = f"{len(images)} images of shape {images.image_shape}"
    else:
        measured = images_sha256(images)
    check = Check(MANIFEST, f"{len(images)} images (sha256)", claimed, measured)
    if measured != claimed:
        raise EndedError(check)
    yield check


def _included_sha256(bundle: Bundle) -> str | CheckpointError:
    try:
        return images_sha256(_included_images(bundle))
    except CheckpointError as error:
        return error


def _included_images(bundle: Bundle) -> ImageSet:
    """A stranger's archive: nothing is unpacked beyond what the images should take. Raises CheckpointError."""
    directory, manifest = bundle.directory, bundle.manifest
    channels, height, width = bundle.claimed.model.input_shape
    limit = manifest.n * (channels * height * width + 1) * _LARGEST_ITEM + _ROOM
    try:
        content = read_regular(directory / IMAGES, limit=limit)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > limit:
                raise CheckpointError(f"{IMAGES} would unpack to more than {manifest.n} images")
            require_lone_entries(content, archive)
            if set(archive.namelist()) != _ENTRIES:  # numpy takes x for x.npy, and others do not
                raise CheckpointError(f"{IMAGES} holds {few(archive.namelist())}; expected {few(sorted(_ENTRIES))}")
            require_honest_sizes(archive, ("x", "y"))
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            pixels, labels = arrays["x"], arrays["y"]
        return checked_image_set(pixels, labels, name=manifest.dataset, source=IMAGES)
    except (DataError, *UNREADABLE) as error:
        raise CheckpointError(f"{IMAGES} cannot be read: {error}") from error
