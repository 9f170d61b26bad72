"""What a bundle claims, measured again: proofs from the weights, distances from the stored adversarial points."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lip_plugin.data import LabelledImages
from lip_plugin.evaluate import DatasetSummary, Report, Request, evaluate_images
from lip_plugin.evaluate.blocks import BLOCK_SIZE
from lip_plugin.evaluate.restated import restated
from lip_plugin.evaluate.results import summarise_model
from lip_plugin.network.limits import images_at_once
from lip_plugin.submission.robustbench import other_labels
from lip_plugin.submission.submission import Submission
from lip_plugin.verification.bundle import Bundle
from lip_plugin.verification.points import TriedPoints, tried_points

TRUSTED = (
    "names of attacks, and which of them found a point",
    "that the attacks ran as described (seed, stages, forwards, audit) and found nothing more",
    "seconds, versions and the device",
    "what own images are called, which files they were and a part of how many, beyond their sha256",
    "what the model is called",
    "what the card says in words and of training and other evaluations",
)
"""What only attacking again, or asking whoever made the bundle, could tell; taken from the claim."""


@dataclass(frozen=True)
class Measured:
    """``tried`` are the stored points; ``others`` the images that the network in plain torch labels otherwise."""

    tried: TriedPoints
    report: Report
    others: list[int]


def measure(bundle: Bundle, images: LabelledImages, *, progress: bool = False) -> Measured:
    """Bound, certificates and accuracies of ``images``, which must be those that the bundle speaks of.

    Raises as `evaluate_images`, and ValueError, LookupError for claims that no evaluation can have made.
    """
    claimed = bundle.claimed
    tried = tried_points(claimed.model, images, bundle.stored)
    report = _measured_report(claimed, images, tried, progress=progress)
    others = other_labels(claimed.model, claimed.card.name, images, report.points.certificate.prediction)
    return Measured(tried, report, others)


def _measured_report(claimed: Submission, images: LabelledImages, tried: TriedPoints, *, progress: bool) -> Report:
    """What cannot be measured is that of the claim."""
    claim, card, model = claimed.report, claimed.card, claimed.model
    block = images_at_once(model.layers, model.input_shape, claim.request.batch_size or BLOCK_SIZE)
    grid = [result.eps for result in claim.eps]
    proofs = Request.of(grid, arithmetic=claim.arithmetic, batch_size=block, bound=claim.lipschitz.effort)
    proved = evaluate_images(model, images, proofs, progress=progress)
    survived = [result.empirical_robust_accuracy for result in claim.eps]
    asked = dataclasses.replace(
        proved,
        model=summarise_model(model, name=card.name, architecture=card.architecture or "", sha256=card.sha256),
        dataset=_as_called(proved.dataset, claim.dataset),
        eps=tuple(
            dataclasses.replace(result, empirical_robust_accuracy=shares)
            for result, shares in zip(proved.eps, survived, strict=True)
        ),
        attacks=claim.attacks,
        skipped_certified=claim.skipped_certified,
        cost=claim.cost,
        environment=claim.environment,
        options=claim.options,
        data=claim.data,
        audit_asked=claim.request.audit,
        batch_size=claim.request.batch_size,
        differences=claim.protocol_differences,
        stages=claim.stages,
    )
    distance = tried.distance(len(images))
    attack = [
        name if found else "" for name, found in zip(claimed.points.attack, distance.isfinite().tolist(), strict=True)
    ]
    attacked = claim.audit.attacked_certified
    return restated(asked, distance, attack, tried.program(len(images)), attacked_certified=attacked)


def _as_called(found: DatasetSummary, claim: DatasetSummary) -> DatasetSummary:
    """What own images are called, and a part of how many they are, is their owner's to say."""
    own = not found.is_official and not claim.is_official
    return dataclasses.replace(found, source=claim.source, of=claim.of if own else found.of)
