"""The columns, each with its exact value and the way that is shown: one list for the page, Markdown and CSV."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lip_plugin.leaderboard import shown
from lip_plugin.leaderboard.entry import Cost, Entry
from lip_plugin.types import format_eps

Value = str | int | float | bool | None


def _nothing(entry: Entry) -> str:
    return ""


@dataclass(frozen=True)
class Column:
    """``key``: its name in the CSV. ``show`` is for values that are there; ``note`` is small print beside them.

    ``words``: sorted as text. ``kind`` tells the page how to colour it.
    """

    key: str
    title: str
    value: Callable[[Entry], Value]
    show: Callable[[Any], str]
    note: Callable[[Entry], str] = _nothing
    words: bool = False
    kind: str = ""

    def text(self, entry: Entry) -> str:
        """What a reader sees, without the small print."""
        value = self.value(entry)
        return shown.MISSING if value in (None, "") else self.show(value)

    def small_print(self, entry: Entry) -> str:
        """Empty where the value is missing."""
        return "" if self.value(entry) in (None, "") else self.note(entry)

    def exact(self, entry: Entry) -> str:
        """The value as the CSV has it: numbers read back exactly, what is missing is empty."""
        value = self.value(entry)
        if isinstance(value, bool):
            return shown.yes_or_no(value)
        return "" if value is None else str(value) if isinstance(value, str | int) else repr(value)


def page_columns(entries: Sequence[Entry], grid: Sequence[float]) -> list[Column]:
    """For readers: those in which at least one row says something, what matters most first."""
    name, *rest = _identity()
    ordered = [
        name,
        _CLEAN,
        *map(_vra, grid),
        *(column for eps in grid for column in (_survives(eps), _gap(eps))),
        *rest,
        *_facts(),
    ]
    return [column for column in ordered if any(column.value(entry) not in (None, "") for entry in entries)]


def csv_columns(grid: Sequence[float]) -> list[Column]:
    """All of them, whether or not a row says anything."""
    detail = [column for eps in grid for column in (_vra(eps), *_interval(eps), *_attack(eps), _gap(eps))]
    which = [
        _plain("dataset", lambda entry: entry.dataset),
        _plain("standing", lambda entry: entry.certificate.standing.value),
    ]
    return [*which, *_identity(), _CLEAN, *detail, *_facts(), *_only_csv()]


def _identity() -> list[Column]:
    return [
        Column("name", "model", lambda entry: entry.shown_name, shown.words, _marks, words=True),
        Column("certificate", "certificate", lambda entry: entry.certificate.value, shown.words, _method, words=True),
        Column(
            "origin",
            "figures",
            lambda entry: entry.origin.value,
            shown.words,
            lambda entry: shown.words(entry.source),
            words=True,
            kind="source",
        ),
    ]


def _marks(entry: Entry) -> str:
    """Beside the name, so that no figure is read without it."""
    return f"{entry.certificate.value}; {entry.origin.value}"


def _method(entry: Entry) -> str:
    return shown.words("; ".join(filter(None, (entry.method, _arithmetic(entry)))))


def _arithmetic(entry: Entry) -> str:
    return f"{entry.arithmetic} arithmetic" if entry.arithmetic else ""


_CLEAN = Column("clean", "clean", lambda entry: entry.clean, shown.percent)


def _vra(eps: float) -> Column:
    def interval(entry: Entry) -> str:
        bounds = entry.proved[eps].interval95
        return "" if bounds is None else " to ".join(f"{100 * bound:.1f}" for bound in bounds)

    text = format_eps(eps)
    return Column(
        f"vra@{text}", f"VRA at {text}", lambda entry: entry.proved_at(eps), shown.percent, interval, kind="proved"
    )


def _survives(eps: float) -> Column:
    def named(entry: Entry) -> str:
        strongest = entry.strongest_at(eps)
        skipped = "certified not attacked" if entry.skipped_certified else ""
        return shown.words("; ".join(filter(None, (strongest[0] if strongest else "", skipped))))

    text = format_eps(eps)
    return Column(
        f"survives@{text}",
        f"survives at {text}",
        lambda entry: found[1] if (found := entry.strongest_at(eps)) else None,
        shown.percent,
        named,
        kind="attacked",
    )


def _gap(eps: float) -> Column:
    text = format_eps(eps)
    return Column(f"gap@{text}", f"gap at {text}", lambda entry: entry.gap_at(eps), shown.percent)


def _interval(eps: float) -> list[Column]:
    def bound(index: int) -> Callable[[Entry], Value]:
        def value(entry: Entry) -> Value:
            found = entry.proved.get(eps)
            return None if found is None or found.interval95 is None else found.interval95[index]

        return value

    text = format_eps(eps)
    return [_plain(f"vra_low@{text}", bound(0)), _plain(f"vra_high@{text}", bound(1))]


def _attack(eps: float) -> list[Column]:
    """The lowest share with its attack's name, and every attack with its share as a JSON object."""
    text = format_eps(eps)

    def all_of_them(entry: Entry) -> Value:
        found = entry.survived.get(eps)
        return json.dumps(dict(found), ensure_ascii=False) if found else None

    return [
        _survives(eps),
        _plain(f"attack@{text}", lambda entry: found[0] if (found := entry.strongest_at(eps)) else None),
        _plain(f"attacks@{text}", all_of_them),
    ]


def _facts() -> list[Column]:
    return [
        Column(
            "distance_over_radius", "adversarial distance / radius", lambda row: row.distance_over_radius, shown.ratio
        ),
        Column("found_over_proved", "Lipschitz found / proved", lambda row: row.found_over_proved, shown.ratio),
        Column("params", "parameters", lambda row: row.params, shown.size, lambda row: shown.words(row.architecture)),
        Column("additional_data", "extra data", lambda row: row.additional_data, shown.yes_or_no, words=True),
        Column("images", "images", lambda row: row.images, shown.count, lambda row: shown.words(row.which)),
        _cost("certify_seconds", "proofs", lambda cost: cost.certify_seconds, shown.seconds),
        _cost("attack_seconds", "attacks", _attack_seconds, shown.seconds),
        _cost("attack_forwards", "image-forwards", lambda cost: cost.attack_forwards or None, shown.count),
    ]


def _attack_seconds(cost: Cost) -> Value:
    return cost.attack_seconds if cost.attack_forwards else None  # without an attack, the time of asking


def _cost(key: str, title: str, value: Callable[[Cost], Value], show: Callable[[Any], str]) -> Column:
    return Column(
        key,
        title,
        lambda entry: None if entry.cost is None else value(entry.cost),
        show,
        lambda entry: "" if entry.cost is None or show is shown.count else shown.words(entry.cost.device),
    )


def _only_csv() -> list[Column]:
    return [
        _plain("whole_split", lambda entry: entry.whole),
        _plain("which_images", lambda entry: entry.which),
        _plain("skipped_certified", lambda entry: entry.skipped_certified),
        _plain("device", lambda entry: entry.cost.device if entry.cost else None),
        _plain("architecture", lambda entry: entry.architecture),
        _plain("method", lambda entry: entry.method),
        _plain("arithmetic", lambda entry: entry.arithmetic),
        _plain("source", lambda entry: entry.source),
        _plain("link", lambda entry: entry.link),
    ]


def _plain(key: str, value: Callable[[Entry], Value]) -> Column:
    return Column(key, key, value, str)
