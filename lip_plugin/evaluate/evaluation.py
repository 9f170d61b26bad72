"""A whole evaluation: proofs, attacks beside them, and what else was asked."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from lip_plugin.certificates import bounds_of, effort
from lip_plugin.data import LabelledImages
from lip_plugin.errors import SoundnessError
from lip_plugin.evaluate.audit import audit_stages
from lip_plugin.evaluate.blocks import Blocks, Part
from lip_plugin.evaluate.certified import certify_together, checked_blocks
from lip_plugin.evaluate.journal import Journal
from lip_plugin.evaluate.journal_about import about_journal
from lip_plugin.evaluate.lipschitz_audit import LIPSCHITZ_AUDIT_IMAGES, LipschitzAudit, audit_lipschitz
from lip_plugin.evaluate.request import Request
from lip_plugin.evaluate.results import Report
from lip_plugin.evaluate.side_by_side import attack_beside, attack_part
from lip_plugin.evaluate.tightness import tightness_estimate
from lip_plugin.network import CertifiedClassifier
from lip_plugin.ranks import Ranks


def evaluate_images(
    model: CertifiedClassifier,
    images: LabelledImages,
    request: Request,
    *,
    ranks: Ranks | None = None,
    journal: Path | None = None,
    parts: tuple[Path, ...] = (),
    progress: bool = False,
) -> Report:
    """Prove a radius for every image and attack beside the proof, where attacks were asked for.

    Images are read block by block: memory does not grow with their pixels. The report keeps the closest adversarial
    point of the first ``request.pictures`` images that have one; of None it keeps all, and memory then grows with them.
    With several ``ranks`` each certifies and attacks its own blocks, and every rank returns the same report as one
    process would, or raises the same error. An attack reads a block only where something in it is left to attack.
    In the folder ``journal`` finished units are kept, and taken up from there: the report is that of an uninterrupted
    run, and its seconds are those of all runs. With it every point that was found is on disk. ``parts`` are the folders
    of `evaluate_part`, all of them in order.
    Raises DataError (an unreadable picture, pixels, labels), ConfigError (also of a journal that is damaged, of
    something else, or cannot be written), UnsupportedLayerError, MissingDependencyError; SoundnessError, carrying the
    report, where an adversarial point lies inside its own image's radius, or the bound is refuted.
    """
    with bounds_of(request.bound or effort()):
        blocks = _prepared(model, images, request, ranks or Ranks(), None if journal is None else Kept(journal, parts))
        return _evaluated(model, blocks, request, progress)


def evaluate_part(
    model: CertifiedClassifier,
    images: LabelledImages,
    request: Request,
    part: Part,
    *,
    journal: Path,
    ranks: Ranks | None = None,
    progress: bool = False,
) -> None:
    """Certify and attack the blocks of one part, into ``journal``.

    Where all parts are done, `evaluate_images` takes their units up, and audits, which needs the radii of all images.
    Its report is that of one run, also where the audit contradicts a certificate: a unit of which the whole asks for
    something else than its part did is worked out again. Raises as `evaluate_images`.
    """
    with bounds_of(request.bound or effort()):
        blocks = _prepared(model, images, request, ranks or Ranks(), Kept(journal), part)
        certificate = certify_together(model, blocks, arithmetic=request.arithmetic, progress=progress)
        attack_part(model, blocks, certificate, request, progress=progress)


@dataclass(frozen=True)
class Kept:
    """Where finished units are kept, and the folders of all ``parts`` in order where they were worked out before."""

    folder: Path
    parts: tuple[Path, ...] = ()


def _prepared(
    model: CertifiedClassifier,
    images: LabelledImages,
    request: Request,
    ranks: Ranks,
    kept: Kept | None,
    part: Part | None = None,
) -> Blocks:
    """Everything that can be wrong before the work, on every rank."""

    def prepared() -> Blocks:
        if request.audits:
            audit_stages(model.num_classes)  # a missing library is an error before the work, not after it
        blocks = checked_blocks(model, images, request, ranks)
        if kept is None:
            return blocks
        journal = Journal(kept.folder, about_journal(model, blocks, request), kept.parts)
        if ranks.leads:
            journal.begin()
        return dataclasses.replace(blocks, journal=journal, part=part or blocks.part)

    return ranks.together(prepared)


def _evaluated(model: CertifiedClassifier, blocks: Blocks, request: Request, progress: bool) -> Report:
    started = time.perf_counter()
    certificate = certify_together(model, blocks, arithmetic=request.arithmetic, progress=progress)
    seconds = time.perf_counter() - started + blocks.seconds_taken_up()
    report = attack_beside(model, blocks, certificate, request, progress=progress, certify_seconds=seconds)
    if request.tightness:
        report = _with_tightness(report, model, blocks.images, blocks.ranks)
    return _audited(report, model, blocks.images, blocks.ranks) if request.audit_lipschitz else report


def _with_tightness(report: Report, model: CertifiedClassifier, images: LabelledImages, ranks: Ranks) -> Report:
    """With what the leader found; the same on every rank."""
    certificate = report.points.certificate
    found = ranks.gather(
        ranks.together(lambda: tightness_estimate(model, images, certificate) if ranks.leads else None)
    )
    return dataclasses.replace(report, tightness=next(filter(None, found), None))


def _audited(report: Report, model: CertifiedClassifier, images: LabelledImages, ranks: Ranks) -> Report:
    """With the leader's search; the same on every rank."""

    def search() -> LipschitzAudit:
        first = images.first(min(len(images), LIPSCHITZ_AUDIT_IMAGES))
        return audit_lipschitz(model, torch.cat([x for x, _ in first.blocks(LIPSCHITZ_AUDIT_IMAGES, model.dtype)]))

    (audit,) = (found for found in ranks.gather(ranks.together(lambda: search() if ranks.leads else None)) if found)
    report = report.audited(audit)
    if report.status == "failed":
        raise SoundnessError(report.problems[-1], report)
    return report
