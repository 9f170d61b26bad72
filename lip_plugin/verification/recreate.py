"""The report of a bundle, measured again: proofs from the weights, distances from the stored adversarial points."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from lip_plugin.data import LabelledImages
from lip_plugin.evaluate import Report, certify_images
from lip_plugin.evaluate.restated import restated
from lip_plugin.evaluate.results import Status, summarise_model
from lip_plugin.network import CertifiedClassifier
from lip_plugin.report.command import recited
from lip_plugin.verification.claims import Claims
from lip_plugin.verification.points import TriedPoints
from lip_plugin.zoo import ModelCard


def proved_report(
    model: CertifiedClassifier, card: ModelCard, images: LabelledImages, claims: Claims, *, progress: bool = False
) -> Report:
    """Bound, certificate and accuracies from weights and images. Raises as `certify_images`."""
    report = certify_images(
        model,
        images,
        eps=claims.eps,
        arithmetic=claims.report.arithmetic,
        batch_size=claims.report.request.batch_size,
        progress=progress,
    )
    summary = summarise_model(model, name=card.name, architecture=card.architecture or "", sha256=card.sha256)
    called = dataclasses.replace(report.dataset, source=claims.report.dataset.source)
    return report.described(model=summary, dataset=called)


def measured_report(proved: Report, tried: TriedPoints, claims: Claims) -> Report:
    """With the distances of the stored points and whom they fool, and from the claim what cannot be measured."""
    claimed = dataclasses.replace(
        proved,
        attacks=tuple(claims.report.attacks),
        skipped_certified=claims.report.skipped_certified,
        cost=claims.cost(),
        environment=claims.environment,
        request=claims.request(),
        differences=claims.differences(),
        stages=claims.stages(),
    )
    count = len(claims.attack)
    distance = tried.distance(count)
    attack = [name if found else "" for name, found in zip(claims.attack, distance.isfinite().tolist(), strict=True)]
    attacked = claims.report.audit.attacked_certified
    report = restated(claimed, distance, attack, tried.program(count), attacked_certified=attacked)
    eps = [
        dataclasses.replace(result, empirical_robust_accuracy=_surviving(result.counts, claim, claims.report.attacks))
        for result, claim in zip(report.eps, claims.survives, strict=True)
    ]
    report = dataclasses.replace(report, eps=tuple(eps))
    command = claims.report.request.command
    return report.described(command=recited(report, command)) if command else report


def _surviving(counts: Mapping[Status, int], claimed: Mapping[str, float], attacks: list[str]) -> dict[str, float]:
    """Per attack. One attack leaves standing what is not broken; of several each leaves at least that much.

    What several attacks claim is taken where it lies between that and the clean accuracy.
    """
    total = sum(counts.values())
    standing, clean = (counts["certified"] + counts["undecided"]) / total, (total - counts["wrong"]) / total
    if len(attacks) == 1:
        return {attacks[0]: standing}
    return {attack: min(max(claimed.get(attack, standing), standing), clean) for attack in attacks}
