"""Which pictures are taken: by what a file holds, whatever its name, and only where their numbers tell all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF")
"""Pillow's names. It knows a hundred more, and starts other programs for some of them."""

_LONGEST_RATIO = 256
_BITMAP_BITS = {"1": 1, "P;1": 1, "P;4": 4, "P": 8, "L": 8, "BGR": 24}
_FAX = ("tiff_ccitt", "group3", "group4")
_SAMPLE_FORMAT = 339  # a TIFF tag; 1 is unsigned

_PHOTOMETRIC = 262  # a TIFF tag; 1 is "black is 0"
_LEVELS_16 = 2**16 - 1

# How Pillow calls the samples as they are stored. What it converts to its own 8 bits on the way in (colours of 16
# bits, 12, floats, 5 bits of a BMP, palettes of 16 bits in a TIFF) is not here, nor is what it would leave out.
_DEEP_GREY = frozenset({"I;16", "I;16B"})
_CMYK_JPEG = "CMYK;I"
_SMALL_GREY = frozenset({f"L;{bits}{order}" for bits in (2, 4) for order in ("", "I", "R", "IR")})
_SAMPLES: dict[str, frozenset[str]] = {
    "JPEG": frozenset({"L", "RGB", _CMYK_JPEG}),
    "MPO": frozenset({"L", "RGB", _CMYK_JPEG}),
    "PNG": frozenset({"1", "L", "L;2", "L;4", "LA", "RGB", "RGBA", "P", "P;1", "P;2", "P;4"}),
    "BMP": frozenset({*_BITMAP_BITS, "BGRX", "XBGR", "BGXR", "ABGR", "RGBA", "BGRA", "BGAR"}),
    "WEBP": frozenset({"RGB", "RGBA"}),
    "PPM": frozenset({"1;I", "L", "RGB"}),
    "TIFF": frozenset({"1", "1;I", "1;R", "1;IR", "L", "L;I", "L;R", "L;IR", "LA", "RGB", "RGB;R", "RGBA", "CMYK"})
    | _SMALL_GREY,
}


class KindError(Exception):
    """A picture that is readable and yet not taken; the message says what it is and what is expected."""


Levels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""Channel values from 0 to 255, or to 65535."""


def opaque_rgb(picture: Any, content: bytes) -> Levels:
    """(H, W, 3) of a picture that Pillow has opened out of ``content`` and not yet loaded. Raises KindError.

    Grey, palette and CMYK pictures become RGB as in Pillow, without colour profiles. Grey of 16 bits stays as deep.
    """
    _check_frames(picture)
    deep = _check_samples(picture, content)
    width, height = picture.size
    if max(width, height) > _LONGEST_RATIO * min(width, height):  # its shorter side is what gets resized
        raise KindError(f"{width}x{height} pixels; expected sides that differ {_LONGEST_RATIO}-fold at most")
    colours = _palette_size(picture)
    picture.load()
    if deep:
        return _deep_grey(picture)
    if picture.mode == "P" and picture.getextrema()[1] >= colours:
        raise KindError(f"colour {picture.getextrema()[1]} of a palette that has {colours}")
    if picture.mode in ("LA", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema()[0] < 255:
            raise KindError("it is transparent in places; expected opaque pixels, put it on a background")
    return np.array(picture.convert("RGB"))


def _deep_grey(picture: Any) -> npt.NDArray[np.uint16]:
    if "transparency" in picture.info:
        raise KindError("16-bit grey with a transparent level; expected opaque pixels, put it on a background")
    levels = np.asarray(picture)
    if levels.min() < 0 or levels.max() > _LEVELS_16:
        raise KindError(f"grey from {levels.min()} to {levels.max()}; expected 0 to {_LEVELS_16}")
    return np.repeat(levels.astype(np.uint16)[:, :, None], 3, axis=2)


def _check_frames(picture: Any) -> None:
    """One picture in a file. A JPEG's first is the picture by its standard, the others are previews and the like."""
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        raise KindError(f"{picture.format} with {picture.n_frames} pictures; expected one, save it by itself")


def _check_samples(picture: Any, content: bytes) -> bool:
    """Whether it is grey of 16 bits."""
    found = {picture.mode} if picture.format == "WEBP" else {_samples(tile[3]) for tile in picture.tile}
    deep = picture.format in _DEEP_FORMATS and bool(found) and found <= _DEEP_GREY
    strange = sorted(found - _SAMPLES[picture.format])
    if not deep and (strange or not found):
        kind = f"{picture.format} with samples {', '.join(strange) or 'of no kind'}"
        expected = "8 bits a channel (grey, RGB, palette or CMYK), or grey of 16 in a PNG, PGM or TIFF"
        raise KindError(f"{kind}; expected {expected}: scale it and save it so")
    if picture.tile and sum((x1 - x0) * (y1 - y0) for _, (x0, y0, x1, y1), *_ in picture.tile) != _area(picture):
        raise KindError(f"{picture.format} whose parts do not cover its {picture.size[0]}x{picture.size[1]} pixels")
    if check := _CHECKS.get(picture.format):
        check(picture, content)
    return deep


def _samples(arguments: str | tuple[Any, ...]) -> str:
    return arguments if isinstance(arguments, str) else str(arguments[0])


def _area(picture: Any) -> int:
    return picture.size[0] * picture.size[1]


def _palette_size(picture: Any) -> int:
    if picture.mode != "P" or picture.palette is None:
        return 0
    return len(picture.palette.palette) // len(picture.palette.rawmode or picture.palette.mode)


def _check_ppm(picture: Any, content: bytes) -> None:
    """Pillow rounds other largest values to its own 255, and does not look behind the first picture."""
    decoder, _, offset, arguments = picture.tile[0]
    if decoder != "raw" and picture.mode != "1" and arguments[1] != 255:
        raise KindError(f"PPM with values up to {arguments[1]}; expected up to 255, or grey up to 65535")
    width, height = picture.size
    row = (width + 7) // 8 if picture.mode == "1" else width * {"L": 1, "RGB": 3}.get(picture.mode, 2)
    if decoder == "raw" and content[offset + row * height :].strip():
        raise KindError("PPM with something behind its picture; expected one picture, save it by itself")


def _check_bmp(picture: Any, content: bytes) -> None:
    """Pillow reads the palette black, white as one bit a pixel, also where it is eight."""
    samples = _samples(picture.tile[0][3])
    place = 24 if content[14:18] == b"\x0c\0\0\0" else 28
    bits = int.from_bytes(content[place : place + 2], "little")
    if bits != _BITMAP_BITS.get(samples, 32):
        raise KindError(f"BMP of {bits} bits a pixel that reads as {samples}; save it as RGB")


def _check_tiff(picture: Any, content: bytes) -> None:
    """Pillow goes on where a decoder of faxes finds bad codes, and fills in what it likes."""
    if picture.info.get("compression") in _FAX:
        raise KindError(f"TIFF with the fax compression {picture.info['compression']}; save it with another")
    if set(picture.tag_v2.get(_SAMPLE_FORMAT, (1,))) != {1}:
        raise KindError("TIFF with signed or other samples; expected unsigned ones")
    if picture.mode.startswith("I;16") and picture.tag_v2.get(_PHOTOMETRIC) != 1:  # Pillow does not turn it round
        raise KindError("TIFF of 16 bits whose white is 0; expected that black is")


_DEEP_FORMATS = frozenset({"PNG", "PPM", "TIFF"})
_CHECKS = {"PPM": _check_ppm, "BMP": _check_bmp, "TIFF": _check_tiff}
