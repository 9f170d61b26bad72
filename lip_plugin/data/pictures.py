"""Pictures of a split, one at a time: what a source of them is, and files decoded with Pillow."""

from __future__ import annotations

import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lip_plugin.data.archives import UNREADABLE
from lip_plugin.data.picture_kinds import FORMATS, KindError, Levels, opaque_rgb
from lip_plugin.errors import CheckpointError, DataError
from lip_plugin.extras import require
from lip_plugin.schema.report import DataManifest
from lip_plugin.untrusted import printable, read_regular

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Which files of a folder are its pictures: those of torchvision's ImageFolder."""

_LARGEST_FILE = 256 * 2**20
_DAMAGED = (*UNREADABLE, SyntaxError, ArithmeticError, AssertionError, struct.error)


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

    @property
    def manifest(self) -> DataManifest | None:
        """Which files they were taken from; None where nobody kept count."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Where it lies, for messages."""
        ...

    def read(self, index: int) -> Levels:
        """(H, W, 3) in the order red, green, blue, or (H, W, 1), as deep as it is.

        Raises DataError, which names the picture.
        """
        ...


def read_rgb(path: str | Path) -> npt.NDArray[np.uint8]:
    """As `read_picture`, of 8 bits a channel alone."""
    return eight_bits(read_picture(path), path)


def eight_bits(picture: Levels, name: object) -> npt.NDArray[np.uint8]:
    """Where nothing deeper can be used, a deeper picture is no picture. Raises DataError."""
    if picture.dtype != np.uint8:
        raise DataError(f"cannot use {name}: grey of 16 bits; here 8 are expected, scale it and save it so")
    return picture.astype(np.uint8, copy=False)


def read_picture(path: str | Path) -> Levels:
    """(H, W, 3) in the order red, green, blue, of a file that `decode_rgb` takes. Raises DataError."""
    try:
        content = read_regular(Path(path), limit=_LARGEST_FILE, links=True)
    except (OSError, CheckpointError) as error:
        raise DataError(f"cannot decode {path}: {getattr(error, 'strerror', None) or error}") from error
    return decode_rgb(content, str(path))


def decode_rgb(content: bytes, name: str) -> Levels:
    """As `read_picture`, of a file's content; ``name`` is for the error.

    JPEG, PNG, BMP, WebP, TIFF and PPM (PGM, PBM) by what the file holds, whatever its name. Grey, palette and
    CMYK are converted, colour profiles and a JPEG's EXIF orientation are not applied: as torchvision does. Grey of
    16 bits is uint16, where torchvision cuts it off at 255. Refused with DataError: other depths, transparency,
    several pictures in a file (of a JPEG the first is taken), more pixels than Pillow holds safe, and what its
    decoder finds damaged.
    """
    pillow: Any = require("PIL.Image")
    name = printable(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged metadata
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(BytesIO(content), formats=FORMATS) as picture:
                return opaque_rgb(picture, content)
    except KindError as error:
        raise DataError(f"cannot use {name}: {error}") from error
    except pillow.UnidentifiedImageError as error:
        reason = (
            f"no known picture format, or truncated; expected {', '.join(FORMATS)}" if content else "the file is empty"
        )
        raise DataError(f"cannot decode {name}: {reason}; convert it, or fetch the file again") from error
    except (*_DAMAGED, pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        reason = printable(str(error), longest=200) or type(error).__name__
        raise DataError(f"cannot decode {name}: {reason}; fetch the file again") from error
