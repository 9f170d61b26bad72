"""One row of the leaderboard: values only, each as exact as its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum


class Standing(Enum):
    """Rows of one are never ranked among those of the other. The value is the word that a reader sees."""

    PROVED = "proved"
    ASSUMED = "assumed"


class Certificate(Enum):
    """How far the certified figures can be relied on. The value is the word that a reader sees."""

    SOUND = "sound"
    CLAIMED = "claimed sound"
    ELSEWHERE = "proved by others"
    BY_CONSTRUCTION = "by construction"
    ESTIMATED = "estimated"
    PROBABILISTIC = "probabilistic"
    UNSTATED = "not stated"
    CONTRADICTED = "contradicted"

    @property
    def standing(self) -> Standing:
        """What the figures rest on, as far as anybody says. Nothing rests on a refuted certificate."""
        return Standing.PROVED if self in (Certificate.SOUND, Certificate.CLAIMED) else Standing.ASSUMED


MEANING: Mapping[Certificate, str] = {
    Certificate.SOUND: (
        "an upper bound of the Lipschitz constant was proved from the weights, the rounding of the proof included, for "
        "the arithmetic that is named beside it"
    ),
    Certificate.CLAIMED: (
        "a file says that such a bound was proved; nothing of it was verified in the call that made this leaderboard"
    ),
    Certificate.ELSEWHERE: "its authors prove the bound, rounding of the proof included; it was not made again here",
    Certificate.BY_CONSTRUCTION: (
        "the layers are 1-Lipschitz by the way they are built: in exact arithmetic, and where their iterations have "
        "converged; rounding errors are not covered"
    ),
    Certificate.ESTIMATED: (
        "a Lipschitz constant comes from power iteration, which approaches it from below: the true figure can be lower"
    ),
    Certificate.PROBABILISTIC: "each certificate holds with a stated probability (randomised smoothing)",
    Certificate.UNSTATED: "how the Lipschitz constant was bounded is not stated in what the figure was taken from",
    Certificate.CONTRADICTED: "an attack or a search refuted the certificate: nothing in the row is to be relied on",
}


class Origin(Enum):
    """Where the figures come from. The value is the word that a reader sees."""

    VERIFIED = "verified"
    REPORT = "claimed, report"
    BUNDLE = "claimed, bundle"
    CARD = "claimed, card"
    PUBLISHED = "reported"


ORIGIN_MEANING: Mapping[Origin, str] = {
    Origin.VERIFIED: "the figures of a submission, made again by the call that made this leaderboard",
    Origin.REPORT: "read from a report.json, which anybody can write",
    Origin.BUNDLE: "read from a submission; --verify, or lip verify, makes its figures again",
    Origin.CARD: "read from a model's card; lip certify makes the proofs again",
    Origin.PUBLISHED: "figures that others have published",
}


@dataclass(frozen=True)
class Proved:
    """Certified accuracy at one radius, as a share, with its Wilson 95 % interval where that is known."""

    share: float
    interval95: tuple[float, float] | None = None


@dataclass(frozen=True)
class Cost:
    """Wall-clock seconds and image-forwards on ``device``."""

    certify_seconds: float
    attack_seconds: float
    attack_forwards: int
    device: str


@dataclass(frozen=True)
class Entry:
    """One model on one data set. Accuracies are shares of the images; eps are L2 radii for pixels in [0,1].

    ``survived``: eps -> attack -> share. ``distance_over_radius``: the smallest adversarial distance found over the
    radius of its image. ``found_over_proved``: the Lipschitz constant that two points show over the upper bound.
    ``whole``: they are about every image of an official test split; only such rows are ranked. ``which`` says in words
    which images they are about. ``source``: what the figures were read from, in words; ``link``: where they were
    published, an https address.
    """

    name: str
    dataset: str
    certificate: Certificate
    method: str
    origin: Origin
    source: str
    architecture: str = ""
    params: int | None = None
    images: int | None = None
    whole: bool = False
    which: str = ""
    clean: float | None = None
    proved: Mapping[float, Proved] = field(default_factory=dict[float, Proved])
    survived: Mapping[float, Mapping[str, float]] = field(default_factory=dict[float, Mapping[str, float]])
    skipped_certified: bool | None = None
    distance_over_radius: float | None = None
    found_over_proved: float | None = None
    cost: Cost | None = None
    arithmetic: str = ""
    additional_data: bool | None = None
    link: str = ""

    @property
    def shown_name(self) -> str:
        """With the number of images where these are not a whole test split: no such figure is read without it."""
        return self.name if self.whole else f"{self.name} (n={'unknown' if self.images is None else self.images})"

    def proved_at(self, eps: float) -> float | None:
        """The certified share at exactly this radius."""
        return self.proved[eps].share if eps in self.proved else None

    def strongest_at(self, eps: float) -> tuple[str, float] | None:
        """The attack that the fewest images survive, and their share: the lowest of the upper bounds."""
        found = self.survived.get(eps)
        return min(found.items(), key=lambda item: (item[1], item[0])) if found else None

    def gap_at(self, eps: float) -> float | None:
        """What neither proof nor attack decides at eps, as a share."""
        proved, strongest = self.proved_at(eps), self.strongest_at(eps)
        if proved is None or strongest is None:
            return None
        return float(Decimal(repr(strongest[1])) - Decimal(repr(proved)))  # 0.65 - 0.632 is 0.018
