"""The report of a bundle, measured again: proofs from the weights, distances from the stored adversarial points."""

from __future__ import annotations

import dataclasses

from lip_plugin.data import LabelledImages
from lip_plugin.evaluate import DatasetSummary, Report, Request, evaluate_images
from lip_plugin.evaluate.blocks import BLOCK_SIZE
from lip_plugin.evaluate.restated import restated
from lip_plugin.evaluate.results import summarise_model
from lip_plugin.network import CertifiedClassifier
from lip_plugin.network.limits import images_at_once
from lip_plugin.types import OWN_IMAGES
from lip_plugin.verification.claims import Claims
from lip_plugin.verification.points import TriedPoints
from lip_plugin.zoo import ModelCard


def measured_report(
    model: CertifiedClassifier,
    card: ModelCard,
    images: LabelledImages,
    claims: Claims,
    tried: TriedPoints,
    *,
    progress: bool = False,
) -> Report:
    """Bound, certificate and accuracies from weights and images, distances of the points that were tried.

    What cannot be measured is that of the claim. Raises as `evaluate_images`.
    """
    claim = claims.report
    block = images_at_once(model.layers, model.input_shape, claim.request.batch_size or BLOCK_SIZE)
    proofs = Request.of([result.eps for result in claim.eps], arithmetic=claim.arithmetic, batch_size=block)
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
        name if found else "" for name, found in zip(claims.points.attack, distance.isfinite().tolist(), strict=True)
    ]
    attacked = claim.audit.attacked_certified
    return restated(asked, distance, attack, tried.program(len(images)), attacked_certified=attacked)


def _as_called(found: DatasetSummary, claim: DatasetSummary) -> DatasetSummary:
    """What own images are called, and a part of how many they are, is their owner's to say."""
    of = claim.of if claim.name == found.name == OWN_IMAGES else found.of
    return dataclasses.replace(found, source=claim.source, of=of)
