"""``report.html`` and ``curve.svg`` against those of the measured report: every word and tag, but not the lines.

Releases of matplotlib draw other lines, so inside a drawing places, paths and colours are free, and nothing else: only
tags and attributes that draw, no address outside the file, the same words in the same order. Outside of drawings a page
is compared tag by tag, and its pictures pixel by pixel.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from lip_plugin.errors import CheckpointError, MissingDependencyError
from lip_plugin.verification.agreement import text_disagreements
from lip_plugin.verification.checks import Check, check, failed, not_checked
from lip_plugin.verification.documents import read_beside

_DRAWING_TAGS = frozenset({"g", "path", "text", "tspan", "defs", "use", "clippath", "rect", "style", "metadata"})
_FREE = frozenset(
    {"d", "x", "y", "x1", "x2", "y1", "y2", "dx", "dy", "cx", "cy", "r", "width", "height", "transform", "points"}
)
"""Attributes that say where something is."""

_STRANGE = "strange:"
_STYLE = re.compile(r"(?:[\w\s:;#.,%()'-]|url\(#[\w-]+\))*")
_LOCAL = re.compile(r"#[\w-]+|url\(#[\w-]+\)|[\w.-]+")
_PNG = "data:image/png;base64,"
_LARGEST_SIDE = 4096
_ROOM = 100


def drawing_check(directory: Path, file: str, draw: Callable[[], str]) -> Check:
    """``draw`` makes the file again."""
    try:
        expected = draw()
    except MissingDependencyError as error:
        return not_checked(file, "words", str(error))
    try:
        claimed = read_beside(directory / file, expected)
    except (OSError, UnicodeDecodeError, CheckpointError) as error:
        return failed(file, "words", "readable", error)
    if claimed.count("<") > 2 * expected.count("<") + _ROOM:  # a parser takes its time over what is no tag
        return check(file, "tags", expected.count("<"), claimed.count("<"))
    difference = next(text_disagreements(_outline(claimed), _outline(expected)), None)
    if difference is None:
        return check(file, "words, not lines", "as written", "the same", agrees=True)
    return check(file, f"outline, {difference.where}", difference.claimed, difference.measured, agrees=False)


def _outline(text: str) -> str:
    """Everything that is compared, a line each."""
    outline = _Outline()
    outline.feed(text)
    outline.close()
    # Where another reader could see another tag, there is a bracket that is none of ours.
    return "\n".join([*outline.lines, f"{text.count('<') - outline.brackets} other brackets"])


class _Outline(HTMLParser):
    """``lines``: tags with their attributes, and texts; ``brackets``: how many ``<`` they account for."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self.brackets = 0
        self._drawing = 0
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(f"<{tag} {self._attributes(tag, attrs)}>", in_drawing=tag in _DRAWING_TAGS)
        self._drawing += tag == "svg"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(f"<{tag} {self._attributes(tag, attrs)}/>", in_drawing=tag in _DRAWING_TAGS)

    def handle_endtag(self, tag: str) -> None:
        self._drawing -= tag == "svg"
        self._add(f"</{tag}>", in_drawing=tag in _DRAWING_TAGS)

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_comment(self, data: str) -> None:
        self._add(f"<!--{data}-->", in_drawing=False)

    def handle_decl(self, decl: str) -> None:
        self._add(f"<!{decl}>", in_drawing=False)

    def handle_pi(self, data: str) -> None:
        self._add(f"<?{data}>", in_drawing=False)

    def unknown_decl(self, data: str) -> None:
        self._add(f"<![{data}", in_drawing=False)

    def close(self) -> None:
        super().close()
        self._end_text()

    def _add(self, line: str, *, in_drawing: bool) -> None:
        """Of a drawing's own tags only what is strange about them, since how many there are is free."""
        self.brackets += 1
        if self._drawing > 0 and in_drawing and _STRANGE not in line:
            return
        self._end_text()
        self.lines.append(line)

    def _end_text(self) -> None:
        if text := " ".join(self._text.split()):
            self.lines.append(text)
        self._text = ""

    def _attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> str:
        if self._drawing > 0:
            return " ".join(_in_drawing(name, value or "") for name, value in attrs)
        shown = ((name, _pixels(value or "") if (tag, name) == ("img", "src") else value) for name, value in attrs)
        return " ".join(f"{name}={value!r}" for name, value in shown)


def _in_drawing(name: str, value: str) -> str:
    """Empty for what only draws."""
    free = name in _FREE or (name == "style" and _STYLE.fullmatch(value)) or _LOCAL.fullmatch(value)
    return "" if free and not name.startswith("on") else f"{_STRANGE} {name}={value!r}"


def _pixels(address: str) -> str:
    """Of a PNG inside the page: parts, size and sha256 of its pixels; releases of Pillow compress them differently.

    Parts that Pillow passes over, such as colours, transparency and more frames, change what a browser shows.
    """
    from PIL import Image

    try:
        content = base64.b64decode(address.removeprefix(_PNG), validate=True) if address.startswith(_PNG) else b""
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if max(picture.size) > _LARGEST_SIDE:
                return f"a picture of {picture.size}"
            parts = _png_parts(content)
            return f"{parts} {picture.mode} {picture.size} {hashlib.sha256(picture.tobytes()).hexdigest()}"
    except (OSError, ValueError, SyntaxError, binascii.Error, Image.DecompressionBombError):
        return f"no picture: {address[:80]}"


def _png_parts(content: bytes) -> str:
    """Bits a sample, and the kinds of chunks in their order, repetitions of the pixels' own left out."""
    kinds: list[str] = []
    place = 8
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        kind = content[place + 4 : place + 8].decode("ascii", "backslashreplace")
        if [kind] != kinds[-1:] or kind != "IDAT":
            kinds.append(kind)
        place += length + 12
    return f"{content[24]} bits, {' '.join(kinds)}{' cut short' if place != len(content) else ''},"
