"""What an evaluation found: values only; writing them down is the business of ``lip_plugin.report``."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lip_plugin.certificates import Certificate, LipschitzBound
from lip_plugin.data import OWN_IMAGES
from lip_plugin.errors import MissingDependencyError
from lip_plugin.evaluate.lipschitz_audit import LipschitzAudit
from lip_plugin.evaluate.programs import ProgramName, refutes
from lip_plugin.evaluate.tightness import Tightness
from lip_plugin.evaluate.versions import attack_libraries
from lip_plugin.evaluate.views import view
from lip_plugin.network import CertifiedClassifier
from lip_plugin.types import ImageShape
from lip_plugin.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Status = Literal["wrong", "certified", "broken", "undecided"]
STATUSES: tuple[Status, ...] = ("wrong", "certified", "broken", "undecided")


@dataclass(frozen=True)
class ModelSummary:
    """Which network was evaluated."""

    name: str
    architecture: str
    params: int
    sha256: str
    digest: str


@dataclass(frozen=True)
class DatasetSummary:
    """Which images it was evaluated on, as `summarise_images` finds: ``name`` and ``split`` follow from the pixels.

    ``of`` how many official images they are, and ``in_order`` whether the first ones in file order; ``of`` is None for
    `OWN_IMAGES`. ``classes`` of ``of_classes`` occur. ``source`` is what whoever gave them says, and nobody checks.
    """

    name: str
    split: str
    n: int
    source: str
    classes: int = 0
    of: int | None = None
    in_order: bool = False
    of_classes: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether these are all images of an official test split."""
        return self.n == self.of

    @property
    def in_words(self) -> str:
        """``512 of 10,000 images of fashion_mnist (test), the first in file order, 10 of 10 classes``."""
        if self.of is None:
            return f"{self.n:,} {OWN_IMAGES} ({self.classes:,} class{'' if self.classes == 1 else 'es'})"
        which = f"{self.name} ({self.split})"
        if self.is_whole:
            return f"all {self.n:,} images of {which}{'' if self.in_order else ', in another order'}"
        order = "the first in file order" if self.in_order else "sampled"
        return f"{self.n:,} of {self.of:,} images of {which}, {order}, {self.classes:,} of {self.of_classes:,} classes"


@dataclass(frozen=True)
class EpsResult:
    """One radius. Accuracies are shares of all images; ``empirical_robust_accuracy`` is keyed by attack."""

    eps: float
    verified_robust_accuracy: float
    vra_interval95: tuple[float, float]
    empirical_robust_accuracy: dict[str, float]
    counts: dict[Status, int]


@dataclass(frozen=True)
class AuditResult:
    """How hard the certificates were tried, and the closest call.

    ``attacked_certified`` counts (image, eps) pairs; ``broken`` the images whose radius an attack contradicted;
    ``smallest_distance_over_radius`` is over the images' closest points at any eps, as far as they say something
    about what the radius speaks of (`refutes`), None without one.
    """

    attacked_certified: int
    broken: int
    smallest_distance_over_radius: float | None


@dataclass(frozen=True)
class Cost:
    """Wall-clock seconds and image-forwards."""

    certify_seconds: float
    attack_seconds: float
    attack_forwards: int


@dataclass(frozen=True)
class Points:
    """Per image, in file order. ``distance`` (N,) float64 is infinite and ``attack`` "" where no point was found.

    ``program`` names who misclassifies the point: "float64" (as a rule ``model(x)`` too), or the "forward" alone.
    """

    labels: Tensor
    certificate: Certificate
    distance: Tensor
    attack: tuple[str, ...]
    program: tuple[str, ...]
    status: dict[float, tuple[Status, ...]]

    @property
    def correct(self) -> Tensor:
        """(N,) bool: both forwards give the label."""
        return (self.certificate.prediction == self.labels) & ~self.certificate.disagrees

    @property
    def refuting_distance(self) -> Tensor:
        """(N,) float64: ``distance`` where the point says something about what the radius speaks of, else infinite."""
        says = torch.tensor([refutes(name, self.certificate.arithmetic) for name in self.program], dtype=torch.bool)
        return self.distance.masked_fill(~says, torch.inf)

    @property
    def disagrees(self) -> Tensor:
        """(N,) bool: ``model(x)`` gives another label than the certificate, at the image or inside its radius."""
        alone = torch.tensor([name == "forward" for name in self.program], dtype=torch.bool)
        return self.certificate.disagrees | (alone & (self.distance < self.certificate.radius))


@dataclass(frozen=True)
class Difference:
    """An image whose status at eps differs between the certificate-aware and the full protocol."""

    eps: float
    index: int
    certificate_aware: Status
    full: Status


@dataclass(frozen=True)
class AdversarialImage:
    """An image and the closest adversarial point found for it: (C, H, W) each, in [0,1], on the CPU."""

    index: int
    image: Tensor
    adversarial: Tensor


@dataclass(frozen=True)
class StageRecord:
    """One attack stage at one eps, as it ran. ``attack`` begins with "audit " where certified images were tried.

    ``broken`` of its ``images`` were misclassified within eps afterwards, which its own attack had not yet achieved.
    ``program`` is what it attacked: ``model(x)`` ("forward") or its operators in float64.
    """

    eps: float
    attack: str
    images: int
    broken: int
    forwards: int
    program: ProgramName = "forward"


@dataclass(frozen=True)
class Request:
    """What was asked for and shows nowhere else in a report. ``audit`` None stands for all certified images."""

    audit: int | None
    batch_size: int


@dataclass(frozen=True)
class Report:
    """A certificate and attacks side by side. ``status`` is "failed" where a certificate was contradicted."""

    status: Literal["ok", "failed"]
    problems: tuple[str, ...]
    model: ModelSummary
    dataset: DatasetSummary
    lipschitz: LipschitzBound
    arithmetic: str
    clean_accuracy: float
    eps: tuple[EpsResult, ...]
    audit: AuditResult
    skipped_certified: bool
    attacks: tuple[str, ...]
    cost: Cost
    environment: dict[str, str | int]
    points: Points
    differences: tuple[Difference, ...] = ()
    lipschitz_audit: LipschitzAudit | None = None
    tightness: Tightness | None = None
    """Of the pair bounds; None where nothing was certified, or nobody looked."""
    input_shape: ImageShape | None = None
    request: Request | None = None
    command: str = ""
    adversarial: tuple[AdversarialImage, ...] = ()
    """The first few images, in file order, for which an adversarial point was found."""
    stages: tuple[StageRecord, ...] = ()
    """Every attack stage in the order they ran; their forwards sum to ``cost.attack_forwards``."""

    def described(
        self, *, model: ModelSummary | None = None, dataset: DatasetSummary | None = None, command: str = ""
    ) -> Report:
        """The same findings with the names of model and data, and the command that asked for them, filled in."""
        return dataclasses.replace(
            self, model=model or self.model, dataset=dataset or self.dataset, command=command or self.command
        )

    def plot(self) -> dict[str, Figure]:
        """Matplotlib figures: "accuracy", "distances" and "lipschitz", those for which there is something to draw.

        Raises MissingDependencyError without the extra ``report``.
        """
        return view("plot")(self)

    def _repr_html_(self) -> str | None:
        """The page, for a notebook; None, and so the plain text, without the extra ``report``."""
        try:
            return view("notebook")(self)
        except MissingDependencyError:
            return None

    def audited(self, audit: LipschitzAudit) -> Report:
        """With the outcome of a search against the Lipschitz bound; failed where that is refuted."""
        if not audit.contradicted:
            return dataclasses.replace(self, lipschitz_audit=audit)
        problem = (
            f"unsound Lipschitz bound {audit.upper_bound:.6g}: two points show a constant of {audit.lower_bound:.6g}"
        )
        return dataclasses.replace(self, lipschitz_audit=audit, status="failed", problems=(*self.problems, problem))


def summarise_model(
    model: CertifiedClassifier, *, name: str = "unnamed", architecture: str = "", sha256: str = ""
) -> ModelSummary:
    """Name and architecture as given, size and digest as they are."""
    kinds = [layer.kind for layer in model.layers]
    shape = f"{kinds.count('conv')} conv, {kinds.count('dense')} dense"
    return ModelSummary(name, architecture or shape, model.num_parameters, sha256, model.digest)


def describe_environment(model: CertifiedClassifier, seed: int, attacks: Iterable[str] = ()) -> dict[str, str | int]:
    """Versions, the libraries of the named attacks included, and what else a result can depend on."""
    return {
        "lip_plugin": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **attack_libraries(attacks),
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "seed": seed,
    }
