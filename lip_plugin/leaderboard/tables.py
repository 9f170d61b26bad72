"""Two tables per data set, what was proved and what is assumed, each with its rows in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lip_plugin.data import find_dataset
from lip_plugin.leaderboard.columns import Column, page_columns
from lip_plugin.leaderboard.entry import MEANING, ORIGIN_MEANING, Certificate, Entry, Origin, Standing


@dataclass(frozen=True)
class Table:
    """The models of one data set whose certificates are of one standing, best first.

    ``grid``: the radii, ascending. ``standard_eps``: the one that rows are sorted by, None without any.
    """

    dataset: str
    standing: Standing
    grid: tuple[float, ...]
    standard_eps: float | None
    entries: tuple[Entry, ...]

    @property
    def title(self) -> str:
        """``cifar10, proved``"""
        return f"{self.dataset}, {self.standing.value}"

    @property
    def unranked(self) -> int:
        """How many rows are of no whole test split, or lack the radius. Refuted ones do not count."""
        standing = [entry for entry in self.entries if entry.certificate is not Certificate.CONTRADICTED]
        return sum(not entry.whole or self.standard_eps not in entry.proved for entry in standing)

    @property
    def ranked(self) -> bool:
        """Whether any row is."""
        return any(entry.whole and self.standard_eps in entry.proved for entry in self.entries)

    @property
    def columns(self) -> list[Column]:
        """Those for readers."""
        return page_columns(self.entries, self.grid)


def make_tables(entries: Iterable[Entry]) -> list[Table]:
    """Data sets with something else than reported figures first, by name; of each what was proved first."""
    groups: dict[str, dict[Standing, list[Entry]]] = {}
    for entry in entries:
        groups.setdefault(entry.dataset, {}).setdefault(entry.certificate.standing, []).append(entry)
    names = sorted(
        groups, key=lambda name: (not any(_own(row) for rows in groups[name].values() for row in rows), name)
    )
    return [
        _table(name, standing, groups[name][standing])
        for name in names
        for standing in Standing
        if standing in groups[name]
    ]


def legend(tables: Sequence[Table]) -> list[tuple[str, str]]:
    """The words for certificates and origins that occur, and what they mean."""
    entries = [entry for table in tables for entry in table.entries]
    kinds, origins = {entry.certificate for entry in entries}, {entry.origin for entry in entries}
    return [(kind.value, MEANING[kind]) for kind in Certificate if kind in kinds] + [
        (origin.value, ORIGIN_MEANING[origin]) for origin in Origin if origin in origins
    ]


def _own(entry: Entry) -> bool:
    return entry.origin is not Origin.PUBLISHED


def _table(dataset: str, standing: Standing, entries: Sequence[Entry]) -> Table:
    grid = tuple(sorted({eps for entry in entries for eps in (*entry.proved, *entry.survived)}))
    standard = _standard_eps(dataset, entries)
    return Table(dataset, standing, grid, standard, tuple(sorted(entries, key=lambda row: _place(row, standard))))


def _standard_eps(dataset: str, entries: Sequence[Entry]) -> float | None:
    """The data set's own where any row has it, else the radius that most rows have, of these the smallest.

    Partial runs have no say where there are whole ones.
    """
    whole = [entry for entry in entries if entry.whole]
    having = Counter(eps for entry in whole or entries for eps in entry.proved)
    record = find_dataset(dataset)
    if record is not None and record.standard_eps in having:
        return record.standard_eps
    return min(having, key=lambda eps: (-having[eps], eps), default=None)


def _place(entry: Entry, standard: float | None) -> tuple[bool, bool, bool, bool, float, float, str]:
    """Refuted rows last, before them partial runs, before them those without the radius, by the smallest they have."""
    missing = standard not in entry.proved
    eps = min(entry.proved, default=None) if missing else standard
    share = None if eps is None else entry.proved_at(eps)
    refuted = entry.certificate is Certificate.CONTRADICTED
    return refuted, not entry.whole, missing, share is None, -(share or 0.0), -(entry.clean or 0.0), entry.name
