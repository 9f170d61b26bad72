"""Which images a bundle speaks of: one sha256 over their pixels and labels."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from lip_plugin.data import LabelledImages
from lip_plugin.network.operators.digest import tensor_bytes

_BLOCK = 16  # few, of however many pixels: only how much is read at a time: the digest does not depend on it


def images_sha256(images: LabelledImages) -> str:
    """Hex sha256 over all pixels in file order, float32 in [0,1], then all labels, int64; little endian, C order.

    Raises DataError on an unreadable picture.
    """
    digest = hashlib.sha256()
    for x, _ in images.blocks(_BLOCK, torch.float32):
        digest.update(tensor_bytes(x))
    digest.update(np.ascontiguousarray(images.labels, dtype="<i8").tobytes())
    return digest.hexdigest()
