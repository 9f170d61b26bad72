"""Every text file that follows from what a bundle claims, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from lip_plugin.errors import CheckpointError
from lip_plugin.untrusted import read_regular
from lip_plugin.verification.checks import Check, Gap
from lip_plugin.version import __version__

_ROOM = 2**16


def text_checks(directory: Path, expected: Mapping[str, str], *, written_by: str) -> Iterator[Check]:
    """One check per file; ``expected``: path -> content.

    Another release of this package (``written_by``) has other words: of its files only the values are looked at.
    """
    if written_by != __version__:
        why = f"not checked: written by lip-plugin {written_by}; verify its words with that release"
        yield from (Gap(file, "content", "", why) for file in expected)
        return
    for file, content in expected.items():
        wanted = content.encode()
        try:
            found = read_regular(directory / file, limit=len(wanted) + _ROOM)
        except (OSError, CheckpointError) as error:
            yield Check(file, "content", "readable", error)
            continue
        if found == wanted:
            yield Check(file, "content", "as written", "the same", agrees=True)
        else:
            yield Check(file, *_first_difference(found, wanted), agrees=False)


def _first_difference(found: bytes, wanted: bytes) -> tuple[str, str, str]:
    lines = zip_longest(found.split(b"\n"), wanted.split(b"\n"), fillvalue=b"nothing")
    number, pair = next((number, pair) for number, pair in enumerate(lines, start=1) if pair[0] != pair[1])
    theirs, ours = (line.decode("utf-8", "backslashreplace") for line in pair)
    return f"line {number}", theirs, ours
