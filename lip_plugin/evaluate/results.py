"""What an evaluation found: values only; writing them down is the business of ``lip_plugin.report``."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from lip_plugin.certificates import Certificate, LipschitzBound
from lip_plugin.errors import MissingDependencyError
from lip_plugin.evaluate.lipschitz_audit import LipschitzAudit
from lip_plugin.evaluate.programs import refutes
from lip_plugin.evaluate.tightness import Tightness
from lip_plugin.evaluate.versions import attack_libraries
from lip_plugin.evaluate.views import view
from lip_plugin.network import CertifiedClassifier
from lip_plugin.schema.figures import Figures
from lip_plugin.schema.kinds import STATUSES as STATUSES
from lip_plugin.schema.kinds import Status as Status
from lip_plugin.schema.report import AuditResult as AuditResult
from lip_plugin.schema.report import Cost as Cost
from lip_plugin.schema.report import DataManifest as DataManifest
from lip_plugin.schema.report import DatasetSummary as DatasetSummary
from lip_plugin.schema.report import Difference as Difference
from lip_plugin.schema.report import EpsResult as EpsResult
from lip_plugin.schema.report import ModelSummary as ModelSummary
from lip_plugin.schema.report import Options as Options
from lip_plugin.schema.report import StageRecord as StageRecord
from lip_plugin.types import ImageShape, format_eps
from lip_plugin.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
class AdversarialImage:
    """An image and the closest adversarial point found for it: (C, H, W) each, in [0,1], on the CPU."""

    index: int
    image: Tensor
    adversarial: Tensor


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
    data: DataManifest | None = None
    """Which files the images were taken from; None where they were arrays."""
    differences: tuple[Difference, ...] = ()
    lipschitz_audit: LipschitzAudit | None = None
    tightness: Tightness | None = None
    """Of the pair bounds; None where nothing was certified, or nobody looked."""
    input_shape: ImageShape | None = None
    audit_asked: int | Literal["all"] | None = None
    """How many certified images at each eps; None where nobody says."""
    batch_size: int | None = None
    options: Options | None = None
    """What the command line had, where it was asked for on one."""
    adversarial: Sequence[AdversarialImage] = ()
    """The first few images, in file order, for which an adversarial point was found; they may lie on the disk."""
    stages: tuple[StageRecord, ...] = ()
    """Every attack stage in the order they ran; their forwards sum to ``cost.attack_forwards``."""

    def described(
        self,
        *,
        model: ModelSummary | None = None,
        dataset: DatasetSummary | None = None,
        options: Options | None = None,
    ) -> Report:
        """The same findings with the names of model and data, and what the command line had, filled in."""
        return dataclasses.replace(
            self, model=model or self.model, dataset=dataset or self.dataset, options=options or self.options
        )

    def figures(self) -> Figures:
        """Shares in percent with two digits, and what they are about: as a card holds them under ``measured``."""
        found = {
            "clean_accuracy": _percent(self.clean_accuracy),
            "verified_robust_accuracy": {
                format_eps(result.eps): _percent(result.verified_robust_accuracy) for result in self.eps
            },
            "images": self.dataset.n,
            "dataset": self.dataset.name,
            "bound": self.lipschitz.method,
            "lipschitz_upper_bound": self.lipschitz.value,
            "median_gradient_over_pair_bound": None if self.tightness is None else round(self.tightness.median, 3),
            "certify_seconds": float(f"{self.cost.certify_seconds:.3g}"),
            "certified_on": f"{self.environment['device']}, {self.environment['threads']} thread(s)",
            "arithmetic": self.arithmetic,
            **(self._under_attack() if self.attacks else {}),
        }
        return Figures.model_validate({name: value for name, value in found.items() if value is not None})

    def _under_attack(self) -> dict[str, Any]:
        closest = self.audit.smallest_distance_over_radius
        return {
            "empirical_robust_accuracy": {
                format_eps(result.eps): {
                    attack: _percent(share) for attack, share in result.empirical_robust_accuracy.items()
                }
                for result in self.eps
            },
            "audited": self.audit.attacked_certified,
            "smallest_distance_over_radius": None if closest is None else float(f"{closest:.4g}"),
        }

    def __repr__(self) -> str:
        return f"Report({view('line')(self)})"

    def __str__(self) -> str:
        return view("text")(self)

    def save(self, directory: str | Path, *, overwrite: bool = False, gallery: bool | None = None) -> None:
        """Write ``report.json``, ``points.csv``, ``report.md`` and, with the extra ``report``, ``report.html``.

        A directory that appears only when complete; ``overwrite`` replaces an earlier report, nothing else. ``gallery``
        puts images beside their adversarial points into the page, None where their data set's terms allow it.
        Raises ConfigError where writing is impossible.
        """
        view("save")(self, Path(directory), overwrite=overwrite, gallery=gallery)

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


def _percent(share: float) -> float:
    return round(100 * share, 2)


def summarise_model(
    model: CertifiedClassifier, *, name: str | None = None, architecture: str = "", sha256: str = ""
) -> ModelSummary:
    """Name and architecture as given, else the network's own; size and digest as they are."""
    kinds = [layer.kind for layer in model.layers]
    shape = f"{kinds.count('conv')} conv, {kinds.count('dense')} dense"
    return ModelSummary(name or model.name, architecture or shape, model.num_parameters, sha256, model.digest)


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
