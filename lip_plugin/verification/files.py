"""The bundle's files against its manifest: each there, of the size and sha256 that it lists, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lip_plugin.errors import CheckpointError
from lip_plugin.submission.layout import MANIFEST
from lip_plugin.submission.manifest import Manifest, bundle_files, file_record
from lip_plugin.verification.checks import Check, check, failed


def listing_check(directory: Path) -> Check | None:
    """A failure where there is more than regular files in folders: a link leads to somebody else's files."""
    try:
        bundle_files(directory)
    except (CheckpointError, OSError) as error:
        return failed(MANIFEST, "files", "regular files only", error)
    return None


def file_checks(directory: Path, manifest: Manifest) -> Iterator[Check]:
    """Failures one by one, then how many files are as listed. Only after `listing_check`."""
    for file in sorted(set(bundle_files(directory)) - set(manifest.files)):
        yield check(file, "presence", "not listed in bundle.json", "there", agrees=False)
    good = 0
    for file, claimed in manifest.files.items():
        try:
            found = file_record(directory / file)
        except (CheckpointError, OSError) as error:
            yield failed(file, "presence", "listed in bundle.json", error)
            continue
        good += found == claimed
        if found != claimed:
            yield check(file, "sha256", claimed.sha256, found.sha256)
            yield check(file, "bytes", claimed.bytes, found.bytes)
    yield check(MANIFEST, "files as listed", len(manifest.files), good)
