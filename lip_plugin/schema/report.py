"""The schema "lip-report/1": every value of ``report.json``, with its range."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from lip_plugin.schema.kinds import (
    MOST_EPS,
    Arithmetic,
    AtLeastOne,
    Count,
    Device,
    Environment,
    Eps,
    Line,
    Named,
    PlainName,
    Positive,
    ProgramName,
    Several,
    Share,
    Status,
)
from lip_plugin.types import OWN_IMAGES, Effort, ImageShape

SCHEMA = "lip-report/1"
POINTS_FILE = "points.csv"


class _Part:
    """Read strictly: no field more or fewer, and no text in the place of a number."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class ModelSummary(_Part):
    """Which network was evaluated; ``sha256`` is that of its weights file, empty where there is none."""

    name: Named
    architecture: Line
    params: Count
    sha256: Line
    digest: Line


@dataclass(frozen=True)
class DatasetSummary(_Part):
    """Which images it was evaluated on, as `summarise_images` finds: ``name`` and ``split`` follow from the pixels.

    ``of`` how many official images they are, and ``in_order`` whether the first ones in file order. ``classes`` of
    ``of_classes`` occur. Of `OWN_IMAGES` ``of`` is how many their reader found, where it kept count, ``of_classes`` are
    the network's, and ``source`` is what whoever gave them says: nobody can check them.
    The name becomes a part of paths.
    """

    name: PlainName
    split: Line
    n: AtLeastOne
    source: Line
    classes: Count = 0
    of: AtLeastOne | None = None
    in_order: bool = False
    of_classes: AtLeastOne | None = None

    @property
    def is_whole(self) -> bool:
        """Whether these are all images of an official test split."""
        return self.is_official and self.n == self.of

    @property
    def is_official(self) -> bool:
        """Whether digests told that these are official test images."""
        return self.of is not None and self.name != OWN_IMAGES

    @property
    def in_words(self) -> str:
        """``512 of 10,000 images of fashion_mnist (test), the first in file order, 10 of 10 classes``."""
        counts = {name: f"{value:,}" for name, value in vars(self).items() if isinstance(value, int)}
        return self.wording.format(**vars(self) | counts)

    @property
    def wording(self) -> str:
        """The words, with the field's name in braces where each value stands: for those who mark values."""
        if not self.is_official:
            return self._how_many_own + self._how_many_classes
        if self.is_whole:
            return f"all {{n}} images of {{name}} ({{split}}){'' if self.in_order else ', in another order'}"
        order = "the first in file order" if self.in_order else "sampled"
        return f"{{n}} of {{of}} images of {{name}} ({{split}}), {order}, {{classes}} of {{of_classes}} classes"

    @property
    def _how_many_own(self) -> str:
        if self.of is None:
            return f"{{n}} {OWN_IMAGES}"
        return f"all {{n}} {OWN_IMAGES}" if self.n == self.of else f"{{n}} of {{of}} {OWN_IMAGES}"

    @property
    def _how_many_classes(self) -> str:
        if self.of_classes is None:
            return f" ({{classes}} class{'' if self.classes == 1 else 'es'})"
        return ", {classes} of {of_classes} classes"


@dataclass(frozen=True)
class DataManifest(_Part):
    """Which files images were taken from, as their reader found them before any selection; nobody can check it.

    ``left_out``: how many files were passed over, by reason. ``classes`` in the order of their numbers, and where that
    order comes from.
    """

    taken: AtLeastOne
    left_out: dict[Line, Count]
    classes: Several[Line]
    numbered_by: Line

    @property
    def in_words(self) -> str:
        """``12 pictures, 3 classes by classes.txt; left out: 2 hidden, 1 of the kind .txt``."""
        counts = (f"{count:,} {why}" for why, count in self.left_out.items())
        left_out = ", ".join(counts) or "nothing"
        return f"{self.taken:,} pictures, {len(self.classes):,} classes by {self.numbered_by}; left out: {left_out}"


@dataclass(frozen=True)
class LayerValues(_Part):
    """What was proved of one operator."""

    name: Line
    upper_bound: Positive
    method: Line


@dataclass(frozen=True, kw_only=True)
class LipschitzValues(_Part):
    """The bound of the map into features, and what a search and the gradients say of it where somebody looked.

    Reports that do not tell their ``effort`` are of a time when every bound was tight.
    """

    upper_bound: Positive
    method: Line
    effort: Effort = "tight"
    lower_bound: Positive | None = None
    audit_forwards: Count | None = None
    median_gradient_over_pair_bound: Positive | None = None
    gradient_images: Count | None = None
    layers: Several[LayerValues]


@dataclass(frozen=True)
class EpsResult(_Part):
    """One radius. Accuracies are shares of all images; ``empirical_robust_accuracy`` is keyed by attack."""

    eps: Eps
    verified_robust_accuracy: Share
    vra_interval95: tuple[Share, Share]
    empirical_robust_accuracy: dict[Line, Share]
    counts: dict[Status, Count]


@dataclass(frozen=True)
class EpsStatistics(_Part):
    """One radius. ``linf_eps``: a Linf ball of this radius lies in the L2 ball of radius ``eps``; None if unknown."""

    eps: Eps
    linf_eps: Positive | None
    empirical_interval95: dict[Line, tuple[Share, Share]]


@dataclass(frozen=True)
class ClassStatistics(_Part):
    """The images of one class. Accuracies are per eps; what survives, survives all attacks together."""

    label: Count
    n: AtLeastOne
    clean_accuracy: Share
    average_certified_radius: Positive | None
    verified_robust_accuracy: Several[Share]
    empirical_robust_accuracy: Several[Share]


@dataclass(frozen=True)
class Statistics(_Part):
    """``average_certified_radius`` is over all images, 0 where the prediction is wrong (ACR of MACER, ICLR 2020).

    None where it is infinite, in a report that was read.
    """

    clean_interval95: tuple[Share, Share]
    average_certified_radius: Positive | None
    input_dimensions: AtLeastOne | None
    eps: Several[EpsStatistics]
    classes: Several[ClassStatistics]


@dataclass(frozen=True)
class AuditResult(_Part):
    """How hard the certificates were tried, and the closest call.

    ``attacked_certified`` counts (image, eps) pairs; ``broken`` the images whose radius an attack contradicted;
    ``smallest_distance_over_radius`` is over the images' closest points at any eps, as far as they say something
    about what the radius speaks of, None without one.
    """

    attacked_certified: Count
    broken: Count
    smallest_distance_over_radius: Positive | None


@dataclass(frozen=True)
class Difference(_Part):
    """An image whose status at eps differs between the certificate-aware and the full protocol."""

    eps: Eps
    index: Count
    certificate_aware: Status
    full: Status


@dataclass(frozen=True)
class StageRecord(_Part):
    """One attack stage at one eps, as it ran. ``attack`` begins with "audit " where certified images were tried.

    ``broken`` of its ``images`` were misclassified within eps afterwards, which its own attack had not yet achieved.
    ``program`` is what it attacked: ``model(x)`` ("forward") or its operators in float64.
    """

    eps: Eps
    attack: Line
    images: Count
    broken: Count
    forwards: Count
    program: ProgramName = "forward"


@dataclass(frozen=True)
class Cost(_Part):
    """Wall-clock seconds and image-forwards."""

    certify_seconds: Positive
    attack_seconds: Positive
    attack_forwards: Count


@dataclass(frozen=True)
class Options(_Part):
    """What a command line named beside what a report says elsewhere; of paths no more than a file's name.

    ``reference`` says in which store the model was, as hf:owner/name.
    Of the images it takes every ``every``-th, or a sample drawn with ``sample_seed``.
    """

    model_dir: bool = False
    reference: Line | None = None
    dataset: Line | None = None
    data: Line | None = None
    data_dir: bool = False
    device: Device | None = None
    every: AtLeastOne | None = None
    sample_seed: Count | None = None


@dataclass(frozen=True)
class RequestValues(_Part):
    """What to ask for to get the report again; ``command`` follows from the rest of it (`command_line`)."""

    command: Annotated[str, Field(max_length=10_000)]
    input_shape: ImageShape | None
    audit: Count | Literal["all"] | None
    batch_size: Annotated[int, Field(ge=1, le=2**20)] | None


def _ascending(grid: tuple[EpsResult, ...]) -> tuple[EpsResult, ...]:
    if any(second.eps <= first.eps for first, second in pairwise(grid)):
        raise ValueError("expected ascending radii")
    return grid


@dataclass(frozen=True, kw_only=True)
class ReportValues(_Part):
    """A whole report but for its points. ``status`` is "failed" where a certificate was contradicted."""

    schema: Literal["lip-report/1"] = SCHEMA
    status: Literal["ok", "failed"]
    problems: Several[Line]
    model: ModelSummary
    dataset: DatasetSummary
    threat_model: Literal["L2"] = "L2"
    lipschitz: LipschitzValues
    arithmetic: Arithmetic
    disagrees: Count
    clean_accuracy: Share
    eps: Annotated[Several[EpsResult], Field(min_length=1, max_length=MOST_EPS), AfterValidator(_ascending)]
    attacks: Annotated[Several[Named], Field(max_length=64)]
    statistics: Statistics
    audit: AuditResult
    skipped_certified: bool
    protocol_differences: Several[Difference]
    stages: Several[StageRecord]
    cost: Cost
    environment: Environment
    options: Options | None
    request: RequestValues
    data: DataManifest | None = None
    points: Literal["points.csv"] = POINTS_FILE


_LEFT_OUT = ("lower_bound", "audit_forwards", "median_gradient_over_pair_bound", "gradient_images")


def report_json(report: ReportValues) -> dict[str, Any]:
    """JSON values only: infinite or missing numbers are None, and what nobody looked for is not there."""
    document = _json(dataclasses.asdict(report))
    lipschitz = document["lipschitz"]
    document["lipschitz"] = {name: of for name, of in lipschitz.items() if of is not None or name not in _LEFT_OUT}
    return {name: of for name, of in document.items() if of is not None or name != "data"}


def report_text(report: ReportValues) -> str:
    """The file ``report.json``. Raises ValueError and TypeError for what JSON cannot say."""
    return json.dumps(report_json(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
