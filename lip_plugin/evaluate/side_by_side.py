"""Attacks beside a certificate, and the report of both."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from lip_plugin.certificates import Certificate, lipschitz_upper_bound, wilson_interval95
from lip_plugin.errors import ConfigError, SoundnessError
from lip_plugin.evaluate.audit import audit_result, audit_stages, contradictions
from lip_plugin.evaluate.blocks import Blocks
from lip_plugin.evaluate.images import summarise_images
from lip_plugin.evaluate.programs import attacked_programs
from lip_plugin.evaluate.protocol import Protocol
from lip_plugin.evaluate.request import Request
from lip_plugin.evaluate.results import (
    STATUSES,
    Cost,
    DatasetSummary,
    Difference,
    EpsResult,
    Points,
    Report,
    describe_environment,
    summarise_model,
)
from lip_plugin.network import CertifiedClassifier, require_unaltered
from lip_plugin.progress import progress_bar


def attack_beside(
    model: CertifiedClassifier,
    blocks: Blocks,
    certificate: Certificate,
    request: Request,
    *,
    progress: bool = False,
    certify_seconds: float = 0.0,
) -> Report:
    """Do what is asked and report. With several ranks every one of them returns, or raises, the same.

    Raises SoundnessError, carrying the report, where an adversarial point lies inside its own image's radius, and
    ConfigError where the network is no longer the certified one.
    """
    started = time.perf_counter()
    differences: tuple[Difference, ...] = ()
    with torch.device("cpu"):  # whatever the user's default device is: tensors are moved to the network's by name
        protocol = _run(model, blocks, certificate, request, progress)
        seconds = time.perf_counter() - started + blocks.seconds_taken_up()
        cost = Cost(certify_seconds, seconds, protocol.forwards)
        if not request.skip_certified:
            aware = _run(model, blocks, certificate, request.certificate_aware(), progress)
            differences = _differences(aware, protocol)
        blocks.ranks.together(lambda: _require_certified(model, certificate))
        images = blocks.ranks.together(lambda: summarise_images(blocks.images, model.num_classes))
        report = _report(protocol, images, cost, differences)
    if report.status == "failed":
        raise SoundnessError(report.problems[0], report)
    return report


def attack_part(
    model: CertifiedClassifier, blocks: Blocks, certificate: Certificate, request: Request, *, progress: bool = False
) -> None:
    """What `attack_beside` does in the blocks of a part, for their journal; the audit has to know all radii."""
    with torch.device("cpu"):
        _run(model, blocks, certificate, dataclasses.replace(request, audit=0), progress)
        if not request.skip_certified:
            _run(model, blocks, certificate, request.certificate_aware(), progress)
        blocks.ranks.together(lambda: _require_certified(model, certificate))


def _require_certified(model: CertifiedClassifier, certificate: Certificate) -> None:
    """An attack runs foreign code that holds the network: what it attacked must be what was certified."""
    require_unaltered(model)
    if model.digest != certificate.digest:
        raise ConfigError("the weights are not those that were certified; an attack or another thread wrote into them")


def _run(
    model: CertifiedClassifier, blocks: Blocks, certificate: Certificate, request: Request, progress: bool
) -> Protocol:
    """The bar counts the leading rank's own images."""
    label = "attack" if request.skip_certified else "attack (full protocol)"
    stages = _stages(request, model) * len(attacked_programs(certificate))
    total = stages * len(blocks.positions(blocks.ranks.rank))
    shown = progress and bool(request.attacks) and blocks.ranks.leads
    with progress_bar(label, total=total, enabled=shown) as advance:
        protocol = Protocol(model, blocks, certificate, request, advance)
        protocol.run()
    return protocol


def _stages(request: Request, model: CertifiedClassifier) -> int:
    """How often the images are gone through."""
    audits = len(audit_stages(model.num_classes)) if request.audits else 0
    return sum(len(attack.stages) for attack in request.attacks) + audits


def _report(protocol: Protocol, images: DatasetSummary, cost: Cost, differences: tuple[Difference, ...]) -> Report:
    certificate, request = protocol.certificate, protocol.request
    findings = protocol.all_findings()
    status = {eps: protocol.status(eps) for eps in request.eps}
    found = findings.distance, tuple(findings.attack), tuple(findings.program)
    points = Points(protocol.blocks.labels, certificate, *found, status)
    problems = contradictions(certificate.radius, *findings.refuting(certificate.arithmetic))
    return Report(
        status="failed" if problems else "ok",
        problems=problems,
        model=summarise_model(protocol.model),
        dataset=images,
        lipschitz=lipschitz_upper_bound(protocol.model),
        arithmetic=certificate.arithmetic,
        clean_accuracy=_share(protocol.correct),
        eps=tuple(_eps_result(protocol, eps, status[eps]) for eps in request.eps),
        audit=audit_result(points, protocol.attacked_certified, len(problems)),
        skipped_certified=request.skip_certified,
        attacks=tuple(attack.name for attack in request.attacks),
        cost=cost,
        environment=describe_environment(protocol.model, request.seed, _attack_names(protocol)),
        data=protocol.blocks.images.manifest,
        points=points,
        differences=differences,
        input_shape=protocol.blocks.images.image_shape,
        audit_asked="all" if request.audit is None else request.audit,
        batch_size=request.batch_size,
        adversarial=protocol.adversarial(),
        stages=tuple(protocol.stages),
    )


def _eps_result(protocol: Protocol, eps: float, status: Sequence[str]) -> EpsResult:
    certified = protocol.certified(eps)
    return EpsResult(
        eps=eps,
        verified_robust_accuracy=_share(certified),
        vra_interval95=wilson_interval95(int(certified.sum()), len(certified)),
        empirical_robust_accuracy={
            attack.name: _share(protocol.robust(attack, eps)) for attack in protocol.request.attacks
        },
        counts={name: sum(one == name for one in status) for name in STATUSES},
    )


def _differences(aware: Protocol, full: Protocol) -> tuple[Difference, ...]:
    """Images whose status depends on the protocol: undecided ones, through other random draws."""
    return tuple(
        Difference(eps, index, was, now)
        for eps in full.request.eps
        for index, (was, now) in enumerate(zip(aware.status(eps), full.status(eps), strict=True))
        if was != now
    )


def _attack_names(protocol: Protocol) -> list[str]:
    """Of everything that ran, the audit's own attacks included."""
    audit = audit_stages(protocol.model.num_classes) if protocol.request.audits else ()
    return [attack.name for attack in (*protocol.request.attacks, *audit)]


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())
