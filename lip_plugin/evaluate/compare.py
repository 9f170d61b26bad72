"""`lp.compare`: certificates and attacks side by side, image by image."""

from __future__ import annotations

import time
from collections.abc import Sequence

from torch import Tensor

from lip_plugin.certificates import Certificate, require_arithmetic
from lip_plugin.data import LabelledImages
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.audit import audit_stages
from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.evaluate.certified import certify_together, checked_blocks, given_images
from lip_plugin.evaluate.given import GivenImages
from lip_plugin.evaluate.plan import EpsArgument, Plan, attack_plan
from lip_plugin.evaluate.results import Report
from lip_plugin.evaluate.side_by_side import attack_beside
from lip_plugin.evaluate.work import KEPT_PICTURES
from lip_plugin.network import CertifiedClassifier
from lip_plugin.ranks import Ranks


def compare(
    model: CertifiedClassifier,
    x: Tensor,
    y: Tensor,
    *,
    eps: EpsArgument,
    attacks: Sequence[str | EmpiricalAttack] = ("autoattack",),
    audit: int | str = 8,
    skip_certified: bool = True,
    seed: int = 0,
    batch_size: int | None = None,
    arithmetic: str = "real",
    progress: bool = False,
) -> Report:
    """Prove a radius for every image of x (N, C, H, W) in [0,1] and attack beside the proof.

    A point certified at eps is not attacked there, except the ``audit`` of them with the smallest radii;
    a point broken at a smaller eps stays broken. ``skip_certified=False`` attacks every correct point
    with every attack and lists where the certificate-aware run came out differently. ``batch_size`` is
    the size of a work unit: a contiguous block of images with its own seed.

    Raises SoundnessError, carrying the report, where any adversarial point lies inside its own image's
    radius; DataError and ConfigError on bad input; MissingDependencyError without the attack library.
    """
    return compare_images(
        model,
        given_images(model, x, y),
        eps=eps,
        attacks=attacks,
        audit=audit,
        skip_certified=skip_certified,
        seed=seed,
        batch_size=batch_size,
        arithmetic=arithmetic,
        progress=progress,
    )


def compare_images(
    model: CertifiedClassifier,
    images: LabelledImages,
    *,
    eps: EpsArgument,
    attacks: Sequence[str | EmpiricalAttack] = ("autoattack",),
    audit: int | str = 8,
    skip_certified: bool = True,
    seed: int = 0,
    batch_size: int | None = None,
    arithmetic: str = "real",
    pictures: int | None = KEPT_PICTURES,
    ranks: Ranks | None = None,
    progress: bool = False,
) -> Report:
    """`compare` for a data set that is read block by block: memory does not grow with its pixels.

    The report keeps the closest adversarial point of the first ``pictures`` images that have one; None keeps all,
    and memory then grows with them.
    With several ``ranks`` each certifies and attacks its own blocks, and every rank returns the same report
    as one process would, or raises the same error. An attack reads a block only where something in it is
    left to attack. Raises as `compare`, and DataError on an unreadable picture.
    """
    ranks = ranks or Ranks()

    def prepared() -> tuple[Plan, Blocks]:
        plan = attack_plan(eps, attacks, audit, skip_certified, seed, batch_size, pictures)
        require_arithmetic(arithmetic)
        if plan.audits:
            audit_stages(model.num_classes)  # a missing library is an error before the work, not after it
        return plan, checked_blocks(model, images, plan, ranks)

    plan, blocks = ranks.together(prepared)
    started = time.perf_counter()
    certificate = certify_together(model, blocks, arithmetic=arithmetic, progress=progress)
    seconds = time.perf_counter() - started
    return attack_beside(model, blocks, certificate, plan, progress=progress, certify_seconds=seconds)


def compare_certified(
    model: CertifiedClassifier,
    x: Tensor,
    y: Tensor,
    certificate: Certificate,
    plan: Plan,
    *,
    progress: bool = False,
    certify_seconds: float = 0.0,
) -> Report:
    """`compare` with a certificate that is already there, whose claims are put to the test. Raises as `compare`."""
    blocks = Blocks(GivenImages(x, y), plan.block_size, model.dtype)
    return attack_beside(model, blocks, certificate, plan, progress=progress, certify_seconds=certify_seconds)
