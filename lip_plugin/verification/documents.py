"""Every text file that follows from model, images and adversarial points, against the bundle's."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from lip_plugin.errors import CheckpointError
from lip_plugin.untrusted import parse_document, read_regular
from lip_plugin.verification.agreement import (
    Disagreement,
    json_disagreements,
    table_disagreements,
    text_disagreements,
)
from lip_plugin.verification.checks import Check, check, failed, not_checked
from lip_plugin.version import __version__

_SHOWN = 3
_ROOM = 2**16
_TABLES = (".json", ".csv", ".yml")


def document_checks(directory: Path, expected: Mapping[str, str], *, written_by: str) -> Iterator[Check]:
    """One check per file, or the first few numbers in which it differs. ``expected``: path -> content.

    Prose of another release of this package (``written_by``) has other words; its tables are compared all the same.
    """
    for file, content in expected.items():
        if written_by != __version__ and not file.endswith(_TABLES):
            yield not_checked(
                file, "content", f"written by lip-plugin {written_by}; verify its words with that release"
            )
            continue
        try:
            claimed = read_beside(directory / file, content)
            differences = list(islice(_disagreements(file, claimed, content), _SHOWN + 1))
        except (OSError, UnicodeDecodeError, CheckpointError, csv.Error) as error:
            yield failed(file, "content", "readable", error)
            continue
        if not differences:
            yield check(file, "content", "as written", "the same", agrees=True)
        for one in differences[:_SHOWN]:
            yield check(file, one.where, one.claimed, one.measured, agrees=False)
        if len(differences) > _SHOWN:
            yield check(file, "further numbers", "others", "not shown", agrees=False)


def read_beside(path: Path, expected: str) -> str:
    """The text of ``path``, which cannot agree where it is much longer. Raises CheckpointError, UnicodeDecodeError."""
    return read_regular(path, limit=2 * len(expected.encode()) + _ROOM).decode("utf-8")


def _disagreements(file: str, claimed: str, measured: str) -> Iterator[Disagreement]:
    if file.endswith(".json"):
        return json_disagreements(parse_document(claimed.encode(), file), parse_document(measured.encode(), file))
    if file.endswith(".csv"):
        return table_disagreements(claimed, measured)
    return text_disagreements(claimed, measured)
