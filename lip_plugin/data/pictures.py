"""Picture files, decoded with Pillow."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lip_plugin.data.optional import require
from lip_plugin.errors import DataError

PICTURE_SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp")


def read_rgb(path: str | Path) -> npt.NDArray[np.uint8]:
    """(H, W, 3) in the order red, green, blue; grey and other modes are converted. Raises DataError."""
    pillow: Any = require("PIL.Image")
    try:
        with pillow.open(path) as picture:
            return np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, struct.error, pillow.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot decode {path}: {reason}; fetch the file again") from error
