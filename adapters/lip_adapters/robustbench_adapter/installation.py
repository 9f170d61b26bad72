"""Whether the package `robustbench` on the path is RobustBench's own.

The wheel of torchattacks (3.5.1, and those before it) ships a package of that name too: an old copy without
`benchmark`. Installed alone it looks like RobustBench, installed together each overwrites files of the other,
and which ones stay depends on the installer.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from lip_plugin.errors import MissingDependencyError

FIX = "pip install 'lip-plugin[robustbench]'"
REINSTALL = "pip install --force-reinstall --no-deps robustbench==1.1.1"

_PACKAGE = "robustbench"
_COPIED_BY = "torchattacks"


def require_own_robustbench() -> None:
    """Reads files, imports nothing. Raises MissingDependencyError, which says what to install."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise MissingDependencyError(f"robustbench is not installed; install it with: {FIX}")
    if spec.origin is None:
        raise MissingDependencyError(f"robustbench is a folder without __init__.py; reinstall it with: {REINSTALL}")
    own, other = _installed(_PACKAGE), _installed(_COPIED_BY)
    folder = Path(spec.origin).parent
    foreign = _foreign_files(folder, own, other) if other else []
    if not foreign:
        return
    copier = f"{_COPIED_BY} {other.version if other else ''}"
    if own is None:
        raise MissingDependencyError(
            f"robustbench is not installed: the package of that name comes with {copier} and is an old copy without "
            f"benchmark; install it with: {FIX}, then {REINSTALL}"
        )
    raise MissingDependencyError(
        f"{len(foreign)} files of robustbench {own.version}, such as {foreign[0]}, were overwritten by {copier}, which "
        f"ships an old copy of that package; reinstall it with: {REINSTALL}"
    )


def _foreign_files(folder: Path, own: Distribution | None, other: Distribution) -> list[str]:
    """Files of the package in this folder whose content is the other distribution's and not its own."""
    theirs, ours = _recorded(other, folder), _recorded(own, folder) if own else {}
    kept = [name for name, digest in theirs.items() if _digest(folder.parent / name) == digest]
    if not ours:  # installed without a record, or from elsewhere: only a complete copy is beyond doubt
        return kept if len(kept) == len(theirs) else []
    return [name for name in kept if ours.get(name) != theirs[name]]


def _recorded(distribution: Distribution, folder: Path) -> Mapping[str, str]:
    """Name and sha256 of what a distribution has installed into this very folder."""
    files = [file for file in distribution.files or () if file.parts[0] == folder.name and file.suffix == ".py"]
    if not files or not _same_folder(Path(str(distribution.locate_file(folder.name))), folder):
        return {}
    return {file.as_posix(): file.hash.value for file in files if file.hash}


def _same_folder(first: Path, second: Path) -> bool:
    return first.exists() and first.samefile(second)


def _digest(path: Path) -> str:
    """sha256 as a RECORD writes it; empty for a file that is not there."""
    if not path.is_file():
        return ""
    return base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).decode().rstrip("=")


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
