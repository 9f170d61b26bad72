"""What was checked: a claim of the bundle, what was measured instead, and whether the two agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from lip_plugin.evaluate import Report
from lip_plugin.memory import out_of_memory
from lip_plugin.untrusted import printable

_LONGEST = 500  # characters of an error: torch writes essays
Verdict = Literal["agrees", "DIFFERS", "not checked"]


@dataclass(frozen=True)
class Check:
    """One claim. ``file`` is relative to the bundle, ``what`` the number or property in it."""

    file: str
    what: str
    claimed: str
    measured: str
    verdict: Verdict

    def line(self) -> str:
        if self.verdict == "DIFFERS":
            return f"{self.file}: {self.what}: claimed {self.claimed}, measured {self.measured}"
        return f"{self.file}: {self.what}: {self.measured}"


def check(file: str, what: str, claimed: object, measured: object, *, agrees: bool | None = None) -> Check:
    """Agrees where the two are equal, or as ``agrees`` says."""
    same = claimed == measured if agrees is None else agrees
    theirs, ours = (printable(str(value), longest=_LONGEST) for value in (claimed, measured))  # a stranger's words
    return Check(printable(file), printable(what), theirs, ours, "agrees" if same else "DIFFERS")


def failed(file: str, what: str, wanted: object, error: Exception) -> Check:
    """The check that ``error`` has ended, in its words without the place where files lie.

    Raises it again where memory has run out: that says nothing about a claim.
    """
    if out_of_memory(error) is not None:
        raise error
    words = error.strerror or "unreadable" if isinstance(error, OSError) else " ".join(str(error).split())[:_LONGEST]
    return check(file, what, wanted, words or type(error).__name__, agrees=False)


def not_checked(file: str, what: str, why: str) -> Check:
    return Check(printable(file), printable(what), "", f"not checked: {printable(why)}", "not checked")


@dataclass
class Verification:
    """Everything that was checked of a bundle, in order, and what had to be taken on trust.

    ``report`` is the measured one, ``statement`` says in words what is proved; both as far as it came to that.
    """

    name: str
    board: str
    checks: list[Check] = field(default_factory=list[Check])
    trusted: tuple[str, ...] = ()
    report: Report | None = None
    statement: str = ""

    def add(self, checks: Iterable[Check]) -> None:
        self.checks += checks

    @property
    def failures(self) -> list[Check]:
        return [one for one in self.checks if one.verdict == "DIFFERS"]

    @property
    def gaps(self) -> list[Check]:
        """What should have been checked and could not be."""
        return [one for one in self.checks if one.verdict == "not checked"]
