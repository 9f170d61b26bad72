"""Pictures of a split, one at a time: what a source of them is, and files decoded with Pillow."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lip_plugin.data.optional import require
from lip_plugin.errors import DataError

PICTURE_SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp")


class PictureSource(Protocol):
    """Labelled pictures in a fixed order. Worker processes get copies of it: it can be pickled."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) class numbers below ``len(classes)``."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names; the place is the number."""
        ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """(H, W, 3) in the order red, green, blue. Raises DataError, which names the picture."""
        ...


def read_rgb(path: str | Path) -> npt.NDArray[np.uint8]:
    """(H, W, 3) in the order red, green, blue; grey and other modes are converted. Raises DataError."""
    return decode_rgb(path, str(path))


def decode_rgb(file: str | Path | BytesIO, name: str) -> npt.NDArray[np.uint8]:
    """As `read_rgb`, also of a file's content; ``name`` is for the error."""
    pillow: Any = require("PIL.Image")
    try:
        with pillow.open(file) as picture:
            return np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, struct.error, pillow.DecompressionBombError) as error:
        # Pillow's own words for a foreign file end in its path, or in the address of a buffer.
        foreign = isinstance(error, pillow.UnidentifiedImageError)
        reason = "no known picture format" if foreign else getattr(error, "strerror", None) or error
        raise DataError(f"cannot decode {name}: {reason}; fetch the file again") from error
