"""Which rows there are: of the zoo's cards, or of report directories and submission bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.files import CARD_FILE
from lip_plugin.leaderboard.entry import Entry, Origin
from lip_plugin.leaderboard.from_card import entries_from_card, reported_entry
from lip_plugin.leaderboard.from_report import entry_from_report
from lip_plugin.leaderboard.published import published_entries
from lip_plugin.schema import read_report
from lip_plugin.zoo import list_cards, read_card

REPORT_FILE = "report.json"

Verified = Callable[[Path], bool]
"""Of a bundle's directory: whether every check was made and agrees. Raises where one differs."""


def entries_of_zoo() -> list[Entry]:
    """Every model of the zoo with what its card says, and published figures. Raises CheckpointError."""
    return [entry for card in list_cards() for entry in entries_from_card(card)] + published_entries()


def entries_of_reports(directories: Iterable[Path], verified: Verified | None = None) -> list[Entry]:
    """One row per report in these directories, and published figures for the data sets that the reports are about.

    A directory holds ``report.json``, or is a submission bundle, or has folders of either kind. Bundles that are not
    ``verified`` are claims, as all others. Raises ConfigError where there is no report at all, CheckpointError for one
    that cannot be read, and as ``verified`` does.
    """
    # By the path without links and dots, so that none counts twice.
    reports = {one.report.resolve(): one for directory in directories for one in _reports_in(directory)}
    found = [entry for report in reports.values() for entry in _entries_of(report, verified)]
    evaluated = {entry.dataset for entry in found}
    return found + [entry for entry in published_entries() if entry.dataset in evaluated]


@dataclass(frozen=True)
class _Found:
    """A report and, where it is a submission's, the directory of its model."""

    report: Path
    model: Path | None = None


def _reports_in(directory: Path) -> list[_Found]:
    """Folders whose name starts with a dot are unfinished work."""
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory; give what `lip compare --out` or `lip submit --out` wrote")
    own = _report_of(directory)
    if own is not None:
        return [own]
    inner = sorted(entry for entry in directory.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    found = [report for report in map(_report_of, inner) if report is not None]
    if not found:
        raise ConfigError(f"{directory} holds no report: expected {REPORT_FILE}, a submission, or folders of these")
    return found


def _report_of(directory: Path) -> _Found | None:
    if (directory / REPORT_FILE).is_file():
        return _Found(directory / REPORT_FILE)
    inner = directory / "report" / REPORT_FILE
    return _Found(inner, directory / "model") if inner.is_file() else None


def _entries_of(found: _Found, verified: Verified | None) -> Iterator[Entry]:
    report = read_report(found.report)
    if found.model is None:
        yield entry_from_report(report)
        return
    card = read_card(found.model)
    if card.digest != report.model.digest:
        raise CheckpointError(f"{found.report}: model.digest is not that of {found.model / CARD_FILE}")
    checked = verified is not None and verified(found.model.parent)
    yield entry_from_report(report, origin=Origin.VERIFIED if checked else Origin.BUNDLE)
    reported = reported_entry(card, Origin.CARD)
    if reported is not None:
        yield reported
