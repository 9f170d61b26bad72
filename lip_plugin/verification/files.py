"""The bundle's files against its manifest: each there, of the size and sha256 that it lists, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lip_plugin.submission.layout import MANIFEST
from lip_plugin.submission.manifest import Manifest, file_records
from lip_plugin.verification.checks import Check, ending


def file_checks(directory: Path, manifest: Manifest) -> Iterator[Check]:
    """Failures one by one, then how many files are as listed.

    Raises EndedError where there is more than readable files in folders: a link leads to somebody else's files.
    """
    with ending(MANIFEST, "files", "regular files only"):
        there = file_records(directory)
    good = 0
    for file in sorted({*manifest.files, *there}):
        claimed, found = manifest.files.get(file), there.get(file)
        good += found == claimed
        if claimed is None or found is None:
            listed = "not listed in bundle.json" if claimed is None else "listed in bundle.json"
            yield Check(file, "presence", listed, "missing" if found is None else "there")
        elif found != claimed:
            yield Check(file, "sha256", claimed.sha256, found.sha256)
            yield Check(file, "bytes", claimed.bytes, found.bytes)
    yield Check(MANIFEST, "files as listed", len(manifest.files), good)
