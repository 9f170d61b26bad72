"""`lp.compare`: certificates and attacks side by side, image by image, of tensors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lip_plugin.certificates import Certificate
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.evaluate.certified import given_images
from lip_plugin.evaluate.evaluation import evaluate_images
from lip_plugin.evaluate.given import GivenImages
from lip_plugin.evaluate.request import EpsArgument, Request
from lip_plugin.evaluate.results import Report
from lip_plugin.evaluate.side_by_side import attack_beside
from lip_plugin.network import CertifiedClassifier
from lip_plugin.types import Effort


def compare(
    model: CertifiedClassifier,
    x: Tensor,
    y: Tensor,
    *,
    eps: EpsArgument,
    attacks: str | EmpiricalAttack | Sequence[str | EmpiricalAttack] = ("nearest-first",),
    audit: int | str = 8,
    skip_certified: bool = True,
    seed: int = 0,
    batch_size: int | None = None,
    arithmetic: str = "real",
    bound: Effort | None = None,
    progress: bool = False,
) -> Report:
    """Prove a radius for every image of x (N, C, H, W) in [0,1] and attack beside the proof.

    A point certified at eps is not attacked there, except the ``audit`` of them with the smallest radii;
    a point broken at a smaller eps stays broken. ``skip_certified=False`` attacks every correct point
    with every attack and lists where the certificate-aware run came out differently. Without attacks, ``()``, every
    correct image is certified or undecided. "nearest-first" searches for the closest point of each image, then runs
    AutoAttack on what still stands. ``batch_size`` is the size of a work unit: a contiguous block of images with its own
    seed. ``bound="tight"`` proves the smallest Lipschitz bound, slowly (`lp.bounds_of`).

    Raises SoundnessError, carrying the report, where any adversarial point lies inside its own image's
    radius; DataError and ConfigError on bad input; MissingDependencyError without the attack library.
    """
    images = given_images(model, x, y)
    request = Request.of(
        eps,
        attacks,
        audit=audit,
        skip_certified=skip_certified,
        seed=seed,
        batch_size=batch_size,
        arithmetic=arithmetic,
        bound=bound,
    )
    return evaluate_images(model, images, request, progress=progress)


def compare_certified(
    model: CertifiedClassifier,
    x: Tensor,
    y: Tensor,
    certificate: Certificate,
    request: Request,
    *,
    progress: bool = False,
    certify_seconds: float = 0.0,
) -> Report:
    """`compare` with a certificate that is already there, whose claims are put to the test. Raises as `compare`."""
    blocks = Blocks(GivenImages(x, y), request.batch_size, model.dtype)
    return attack_beside(model, blocks, certificate, request, progress=progress, certify_seconds=certify_seconds)
