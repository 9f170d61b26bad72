"""The certificate of a data set: block by block, each rank its own blocks, the whole on every rank."""

from __future__ import annotations

import dataclasses
import time

import torch
from torch import Tensor

from lip_plugin.certificates import Certificate, certify_blocks, check_images, check_labels, require_arithmetic
from lip_plugin.data import LabelledImages
from lip_plugin.errors import ConfigError, DataError, SoundnessError
from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.evaluate.given import GivenImages
from lip_plugin.evaluate.lipschitz_audit import LIPSCHITZ_AUDIT_IMAGES, LipschitzAudit, audit_lipschitz
from lip_plugin.evaluate.plan import EpsArgument, Plan, proof_plan
from lip_plugin.evaluate.results import Report
from lip_plugin.evaluate.side_by_side import attack_beside
from lip_plugin.evaluate.tightness import tightness_estimate
from lip_plugin.network import CertifiedClassifier, require_unaltered
from lip_plugin.progress import progress_bar
from lip_plugin.ranks import Ranks


def certify_report(
    model: CertifiedClassifier,
    x: Tensor,
    y: Tensor,
    *,
    eps: EpsArgument,
    arithmetic: str = "real",
    batch_size: int | None = None,
    progress: bool = False,
) -> Report:
    """The report of `lp.compare` without attacks: every correct image is certified or undecided."""
    images = given_images(model, x, y)
    return certify_images(model, images, eps=eps, arithmetic=arithmetic, batch_size=batch_size, progress=progress)


def certify_images(
    model: CertifiedClassifier,
    images: LabelledImages,
    *,
    eps: EpsArgument,
    arithmetic: str = "real",
    batch_size: int | None = None,
    lipschitz_audit: bool = False,
    tightness: bool = False,
    ranks: Ranks | None = None,
    progress: bool = False,
) -> Report:
    """`certify_report` for a data set that is read block by block: memory does not grow with its pixels.

    ``batch_size`` images are read and certified at a time. With several ``ranks`` each certifies its own
    blocks, and every rank returns the same report as one process would, or raises the same error.
    With ``tightness`` it also says how much of the bound is used, of at most `TIGHTNESS_IMAGES` certified images; with
    ``lipschitz_audit`` the bound itself is put to the test, from the first images (`audit_lipschitz`).
    Raises DataError (an unreadable picture, pixels, labels), ConfigError, UnsupportedLayerError; SoundnessError,
    carrying the report, where the bound is refuted.
    """
    ranks = ranks or Ranks()

    def prepared() -> tuple[Plan, Blocks]:
        plan = proof_plan(eps, batch_size)
        require_arithmetic(arithmetic)
        return plan, checked_blocks(model, images, plan, ranks)

    plan, blocks = ranks.together(prepared)
    started = time.perf_counter()
    certificate = certify_together(model, blocks, arithmetic=arithmetic, progress=progress)
    report = attack_beside(model, blocks, certificate, plan, certify_seconds=time.perf_counter() - started)
    if tightness:
        report = _with_tightness(report, model, images, ranks)
    return _audited(report, model, images, ranks) if lipschitz_audit else report


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


def given_images(model: CertifiedClassifier, x: Tensor, y: Tensor) -> GivenImages:
    """Tensors as a data set, after a look at all of them. Raises DataError, ConfigError."""
    require_unaltered(model)
    check_images(model, x)
    if len(x) == 0:
        raise DataError("no images were given; give at least one")
    check_labels(model, x, y)
    return GivenImages(x, y)


def checked_blocks(model: CertifiedClassifier, images: LabelledImages, plan: Plan, ranks: Ranks) -> Blocks:
    """The images cut into work units, after a look at what is known of all and at the first one: proofs take time."""
    require_unaltered(model)
    if len(images) == 0:
        raise DataError(f"{images.source} has no images; give at least one")
    if images.image_shape != model.input_shape:
        expected = ", ".join(map(str, model.input_shape))
        raise DataError(f"images have shape {(len(images), *images.image_shape)}; this model expects (B, {expected})")
    if images.num_classes not in (None, model.num_classes):
        raise DataError(f"{images.source} has {images.num_classes} classes; this model tells {model.num_classes} apart")
    blocks = Blocks(images, plan.block_size, model.dtype, ranks)
    check_labels(model, torch.empty(len(images)), blocks.labels)
    for x, _ in images.first(1).blocks(1, model.dtype):
        check_images(model, x)
    return blocks


def certify_together(
    model: CertifiedClassifier, blocks: Blocks, *, arithmetic: str, progress: bool = False
) -> Certificate:
    """The certificate of all images in file order, on every rank. Raises as `certify`, on every rank."""
    ranks = blocks.ranks
    _require_same_work(model, blocks)
    own = ranks.together(lambda: _own_part(model, blocks, arithmetic, progress and ranks.leads))
    parts = ranks.gather(own)
    if ranks.world == 1:
        return own
    order = torch.cat([blocks.positions(rank) for rank in range(ranks.world)]).argsort()
    columns = ("prediction", "margin", "radius", "disagrees", "strays")
    whole = {name: torch.cat([getattr(part, name) for part in parts])[order] for name in columns}
    return dataclasses.replace(own, **whole)


def _require_same_work(model: CertifiedClassifier, blocks: Blocks) -> None:
    if blocks.ranks.world > 1 and len(set(blocks.ranks.gather((model.digest, blocks.digest)))) > 1:
        raise ConfigError("the processes have different models or labels; give all of them the same files")


def _own_part(model: CertifiedClassifier, blocks: Blocks, arithmetic: str, progress: bool) -> Certificate:
    count = len(blocks.positions(blocks.ranks.rank))
    with progress_bar("certify", total=count, enabled=progress) as advance:
        certificate = certify_blocks(
            model, blocks.read_own(), arithmetic=arithmetic, on_images=lambda done: advance(done, "")
        )
    if len(certificate) != count:
        raise DataError(f"{blocks.images.source}: {len(certificate)} of {count} images could be read; start again")
    return certificate
