"""One pass of attacks, each at all radii of the grid at once, certificate-aware or full."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from lip_plugin.certificates import Certificate
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.audit import audit_mask, audit_stages
from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.evaluate.points_on_disk import PointsOnDisk
from lip_plugin.evaluate.programs import ProgramName, attacked_programs
from lip_plugin.evaluate.request import Request
from lip_plugin.evaluate.restated import statuses
from lip_plugin.evaluate.results import AdversarialImage, StageRecord, Status
from lip_plugin.evaluate.work import Findings, attack_in_blocks
from lip_plugin.network import CertifiedClassifier
from lip_plugin.types import format_eps

logger = logging.getLogger(__name__)

OnProgress = Callable[[int, str], None]
"""Called with (further image-stages done, what is running)."""


class Protocol:
    """Does what is asked and keeps what it finds. N images; tensors (N,) on the CPU.

    With several ranks each attacks in its own blocks, and all of them keep the same state: it is merged after
    every stage, and what is attacked next depends on nothing else.
    """

    def __init__(
        self,
        model: CertifiedClassifier,
        blocks: Blocks,
        certificate: Certificate,
        request: Request,
        on_progress: OnProgress,
    ) -> None:
        self.model, self.blocks, self.certificate, self.request = model, blocks, certificate, request
        self.correct = (certificate.prediction == blocks.labels) & ~certificate.disagrees
        self.programs = attacked_programs(certificate)
        self.found = {attack.name: Findings(len(certificate), kept=request.pictures) for attack in request.attacks}
        self.audit_found = Findings(len(certificate), kept=request.pictures)
        self.attacked_certified = 0
        self.stages: list[StageRecord] = []
        self._on_progress = on_progress

    def run(self) -> None:
        if self.request.audits:
            self._audit()
        for number, attack in enumerate(self.request.attacks):
            self._attack(attack, f"attack{number}")

    @property
    def forwards(self) -> int:
        """Image-forwards of all stages."""
        return sum(stage.forwards for stage in self.stages)

    def certified(self, eps: float) -> Tensor:
        """(N,) bool: correct with radius > eps, and not contradicted by anything that was found."""
        contradicted = self.closest() < self.certificate.radius
        return self.correct & (self.certificate.radius > eps) & ~contradicted

    def closest(self) -> Tensor:
        """(N,) distance of the closest adversarial point that anything has found; infinite without one."""
        return torch.stack([self.audit_found.distance, *(f.distance for f in self.found.values())]).amin(dim=0)

    def all_findings(self) -> Findings:
        best = self.audit_found
        for findings in self.found.values():
            best = best.merged(findings)
        return best

    def adversarial(self) -> Sequence[AdversarialImage]:
        """The points that are kept, by image: in memory, or all of them where the journal has them."""
        findings = self.all_findings()
        if self.blocks.journal is not None and self.request.pictures is None:
            return PointsOnDisk(self.blocks, {index: unit for index, unit in enumerate(findings.unit) if unit})
        return tuple(findings.pictures[index] for index in sorted(findings.pictures))

    def status(self, eps: float) -> tuple[Status, ...]:
        """One of wrong, certified, broken, undecided per image."""
        return statuses(self.correct, self.certificate.radius, self.closest(), eps)

    def robust(self, attack: EmpiricalAttack, eps: float) -> Tensor:
        """(N,) bool: correct, and not broken at eps by this attack or, where it broke a certificate, the audit."""
        return self.correct & ~(self.found[attack.name].distance <= eps) & ~(self.audit_found.distance <= eps)

    def _attack(self, attack: EmpiricalAttack, place: str) -> None:
        findings = self.found[attack.name]
        if not self.request.skip_certified:
            both = (self.robust(attack, eps) & self.certified(eps) for eps in self.request.eps)
            self.attacked_certified += sum(int(mask.sum()) for mask in both)
        for number, stage in enumerate(attack.stages):
            for program in self.programs:
                todo = self._each_eps(partial(self._worth, attack, stage))
                self._stage(stage, program, todo, findings, place=f"{place}.{number}")

    def _worth(self, attack: EmpiricalAttack, stage: EmpiricalAttack, eps: float) -> Tensor:
        """(N,) bool: the images that the stage is run on at eps."""
        standing = self.robust(attack, eps) & stage.is_worth(self.found[attack.name].nearest, eps)
        return standing & ~self.certified(eps) if self.request.skip_certified else standing

    def _audit(self) -> None:
        todo = self._each_eps(lambda eps: audit_mask(self.certified(eps), self.certificate.radius, self.request.audit))
        self.attacked_certified += int(todo.sum())
        for number, stage in enumerate(audit_stages(self.model.num_classes)):
            for program in self.programs:
                self._stage(stage, program, todo, self.audit_found, place=f"audit{number}", prefix="audit ")

    def _each_eps(self, chosen: Callable[[float], Tensor]) -> Tensor:
        """(E, N) bool of the (N,) that are chosen at each eps."""
        return torch.stack([chosen(eps) for eps in self.request.eps])

    def _stage(
        self,
        stage: EmpiricalAttack,
        program: ProgramName,
        todo: Tensor,
        findings: Findings,
        *,
        place: str,
        prefix: str = "",
    ) -> None:
        name, protocol = f"{prefix}{stage.name}", "aware" if self.request.skip_certified else "full"
        self._on_progress(0, name)
        forwards = attack_in_blocks(
            stage,
            self.model,
            self.blocks,
            todo,
            findings,
            eps=self.request.eps,
            seed=self.request.seed,
            program=program,
            step=f"{protocol}-{place}-{program}",
            on_unit=lambda done: self._on_progress(done, name),
        )
        for eps, mask, spent in zip(self.request.eps, todo, forwards, strict=True):
            broken = int((mask & (findings.distance <= eps)).sum())
            self.stages.append(StageRecord(eps, name, int(mask.sum()), broken, spent, program))
            told = "%s of %s at %s done: %d images, %d broken, %d forwards"
            logger.debug(told, name, program, format_eps(eps), int(mask.sum()), broken, spent)
