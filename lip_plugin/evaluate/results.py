"""What an evaluation found: values only; writing them down is the business of ``lip_plugin.report``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lip_plugin.certificates import Certificate, LipschitzBound
from lip_plugin.evaluate.lipschitz_audit import LipschitzAudit
from lip_plugin.network import CertifiedClassifier
from lip_plugin.version import __version__

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
    """Which images it was evaluated on."""

    name: str
    split: str
    n: int
    source: str


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
    ``smallest_distance_over_radius`` is over every adversarial point found at any eps, None without one.
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
    """Per image, in file order. ``distance`` (N,) float64 is infinite and ``attack`` "" where none was found."""

    labels: Tensor
    certificate: Certificate
    distance: Tensor
    attack: tuple[str, ...]
    status: dict[float, tuple[Status, ...]]


@dataclass(frozen=True)
class Difference:
    """An image whose status at eps differs between the certificate-aware and the full protocol."""

    eps: float
    index: int
    certificate_aware: Status
    full: Status


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

    def described(self, *, model: ModelSummary | None = None, dataset: DatasetSummary | None = None) -> Report:
        """The same findings with the names of model and data filled in."""
        return dataclasses.replace(self, model=model or self.model, dataset=dataset or self.dataset)

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


def describe_environment(model: CertifiedClassifier, seed: int) -> dict[str, str | int]:
    device = str(model.device)
    threads = torch.get_num_threads()
    return {"lip_plugin": __version__, "torch": torch.__version__, "device": device, "threads": threads, "seed": seed}
