"""Whether images are those of an official test split: a data set's name belongs to its images, not to a file name.

A record brings one digest for each image of its test split, in file order: the first 12 bytes of sha256 over the pixels
and the label. Against chance: another image meets one of 10,000 digests with a probability of 10,000 / 2^96. Against
intent: whoever wants one image of their own to pass has to try about 2^96 / 10,000 = 2^83 images (8 bytes would be
2^51, days of one GPU). Finding two images with one digest (2^48) helps nobody: these digests are already there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lip_plugin.data.catalogue import DataSet, list_datasets
from lip_plugin.data.labelled import LabelledImages

DIGEST_BYTES = 12
_BLOCK = 256  # only how much is read at a time


@dataclass(frozen=True)
class Recognised:
    """Images that are all among the ``of`` test images of a data set, none used twice. ``in_order``: its first ones."""

    name: str
    of: int
    of_classes: int
    in_order: bool


def image_digests(pixels: npt.NDArray[np.generic], labels: Iterable[int]) -> Iterator[bytes]:
    """Of uint8 images (N, C, H, W) and labels: the beginning of sha256(pixels in C order, label as ``<u2``)."""
    for image, label in zip(pixels, labels, strict=True):
        content = hashlib.sha256(np.asarray(image, np.uint8).tobytes())
        content.update(int(label).to_bytes(2, "little"))
        yield content.digest()[:DIGEST_BYTES]


def official_digests(record: DataSet) -> list[bytes]:
    """Of its test split in file order; none where the record has none."""
    test = record.test
    content = b"" if test is None or test.digests is None else test.digests()
    return [content[start : start + DIGEST_BYTES] for start in range(0, len(content), DIGEST_BYTES)]


def recognised(images: LabelledImages) -> Recognised | None:
    """The data set whose official test images these are, all of them or a part; None for any others.

    Pixels must be the official bytes over 255, exactly, in float32 or float64: a network may look at the last bit.
    Reads no further than to the first image that is none. Raises DataError on an unreadable picture.
    """
    shape, count = images.image_shape, len(images)
    official = {
        record.name: (record, digests)
        for record in list_datasets()
        if record.image_shape == shape and 0 < count <= len(digests := official_digests(record))
    }
    unused = {name: Counter(digests) for name, (_, digests) in official.items()}
    found: list[bytes] = []
    for digests in _blocks_of_digests(images) if official else ():
        found += digests
        for name in [name for name, left in unused.items() if not _taken(left, digests)]:
            del unused[name]
        if not unused:
            return None
    if len(found) != count or not unused:
        return None
    record, digests = official[next(iter(unused))]
    return Recognised(record.name, len(digests), record.num_classes, in_order=found == digests[:count])


def _taken(left: Counter[bytes], digests: list[bytes]) -> bool:
    """Whether all of them were left; takes them away."""
    left.subtract(digests)
    return all(left[digest] >= 0 for digest in digests)


def _blocks_of_digests(images: LabelledImages) -> Iterator[list[bytes]]:
    """Ends early where pixels are no bytes over 255."""
    forms = {torch.float32, torch.float64}
    for x, y in images.blocks(_BLOCK, torch.float64):
        levels = (x.cpu() * 255).round().to(torch.uint8)
        forms = {form for form in forms if _is_quotient(x.cpu(), levels, form)}
        if not forms or int(y.min()) < 0 or int(y.max()) >= 2**16:
            return
        yield list(image_digests(levels.numpy(), y.tolist()))


def _is_quotient(x: Tensor, levels: Tensor, form: torch.dtype) -> bool:
    return torch.equal((levels.to(form) / 255).double(), x)
