"""The bundle's files against its manifest: each there, of the size and sha256 that it lists, and no other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lip_plugin.submission.layout import MANIFEST
from lip_plugin.submission.manifest import Manifest, bundle_files, file_record
from lip_plugin.verification.checks import Check, ending


def file_checks(directory: Path, manifest: Manifest) -> Iterator[Check]:
    """Failures one by one, then how many files are as listed. What is not listed is not read.

    Raises EndedError where there is more than readable files in folders: a link leads to somebody else's files.
    """
    with ending(MANIFEST, "files", "regular files only"):
        there = bundle_files(directory)
        records = {file: file_record(directory / file) for file in there if file in manifest.files}
    for file in there:
        if file not in manifest.files:
            yield Check(file, "presence", "not listed in bundle.json", "there")
    good, folded = 0, Counter(map(str.casefold, manifest.files))
    for file, claimed in sorted(manifest.files.items()):
        found = records.get(file)
        good += found == claimed
        if folded[file.casefold()] > 1:
            yield Check(file, "name", "one of its own", "that of another file, for systems that ignore case")
        if found is None:
            yield Check(file, "presence", "listed in bundle.json", "missing")
        elif found != claimed:
            yield Check(file, "sha256", claimed.sha256, found.sha256)
            yield Check(file, "bytes", claimed.bytes, found.bytes)
    yield Check(MANIFEST, "files as listed", len(manifest.files), good)
