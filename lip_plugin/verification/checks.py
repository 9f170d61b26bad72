"""What was checked: a claim of the bundle, what was measured instead, and whether the two agree."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from lip_plugin.errors import LipPluginError
from lip_plugin.evaluate import Report
from lip_plugin.memory import out_of_memory
from lip_plugin.untrusted import printable

_LONGEST = 500  # characters of an error: torch writes essays
Verdict = Literal["agrees", "DIFFERS", "not checked"]


@dataclass(frozen=True)
class Check:
    """One claim. ``file`` is relative to the bundle, ``what`` the number or property in it.

    It agrees where ``claimed`` equals ``measured``, or as ``agrees`` says. An error is what measuring it ended in;
    one of a machine without memory says nothing about a claim and is raised again.
    """

    file: str
    what: str
    claimed: object
    measured: object
    agrees: bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.measured, Exception) and out_of_memory(self.measured) is not None:
            raise self.measured

    @property
    def verdict(self) -> Verdict:
        same = self.claimed == self.measured if self.agrees is None else self.agrees
        return "agrees" if same else "DIFFERS"

    def words(self) -> dict[str, str]:
        """Every field as one printable line, since much of it is a stranger's, and the verdict."""
        columns = {"file": self.file, "what": self.what, "claimed": self.claimed, "measured": self.measured}
        shown = {name: printable(_text(value), longest=_LONGEST) for name, value in columns.items()}
        return {**shown, "verdict": self.verdict}

    def line(self) -> str:
        words = self.words()
        if self.verdict == "DIFFERS":
            return "{file}: {what}: claimed {claimed}, measured {measured}".format(**words)
        return "{file}: {what}: {measured}".format(**words)


@dataclass(frozen=True)
class Gap(Check):
    """A claim that could not be looked at; ``measured`` says why."""

    @property
    def verdict(self) -> Verdict:
        return "not checked"


def _text(value: object) -> str:
    """Errors in their words, without the place where files lie."""
    if isinstance(value, OSError):
        return value.strerror or "unreadable"
    return " ".join(str(value).split()) or type(value).__name__ if isinstance(value, Exception) else str(value)


class EndedError(Exception):
    """Carries the check after which nothing else can be looked at."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.line())
        self.check = check


@contextmanager
def ending(
    file: str, what: str, wanted: str, errors: tuple[type[Exception], ...] = (LipPluginError, OSError)
) -> Generator[None]:
    """Raise EndedError for what the block raises of ``errors``."""
    try:
        yield
    except errors as error:
        raise EndedError(Check(file, what, wanted, error)) from error


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
        """Raises EndedError with the checks until then added."""
        self.checks += checks

    @property
    def failures(self) -> list[Check]:
        return [one for one in self.checks if one.verdict == "DIFFERS"]

    @property
    def gaps(self) -> list[Check]:
        """What should have been checked and could not be."""
        return [one for one in self.checks if isinstance(one, Gap)]
