"""`lp.compare`: certificates and attacks side by side, image by image."""

from __future__ import annotations

import numbers
import time
from collections.abc import Iterable, Sequence

from torch import Tensor

from lip_plugin.certificates import (
    Certificate,
    certify,
    check_images,
    check_labels,
    lipschitz_upper_bound,
    require_arithmetic,
    wilson_interval95,
)
from lip_plugin.errors import ConfigError, DataError, SoundnessError
from lip_plugin.evaluate.attack import EmpiricalAttack
from lip_plugin.evaluate.attacks import get_attack
from lip_plugin.evaluate.audit import audit_result, audit_stages, contradictions, describe_contradiction, parse_audit
from lip_plugin.evaluate.protocol import Plan, Protocol, cheapest_first
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
from lip_plugin.evaluate.work import Images
from lip_plugin.network import CertifiedClassifier, require_unaltered
from lip_plugin.progress import progress_bar
from lip_plugin.types import parse_eps_grid

BLOCK_SIZE = 256

EpsArgument = float | str | Sequence[float | str]


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
    x = _checked_batch(model, x, y)
    plan = _plan(eps, attacks, audit, skip_certified, seed, BLOCK_SIZE if batch_size is None else batch_size)
    require_arithmetic(arithmetic)
    if plan.audits:
        audit_stages(model.num_classes)  # a missing library is an error before the work, not after it
    started = time.perf_counter()
    certificate = certify(model, x, arithmetic=arithmetic, batch_size=batch_size, progress=progress)
    return compare_certified(
        model, x, y, certificate, plan, progress=progress, certify_seconds=time.perf_counter() - started
    )


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
    images = Images(model, x.to(model.device, model.dtype), y.to(model.device))
    started = time.perf_counter()
    protocol = _run(images, certificate, plan, progress)
    cost = Cost(certify_seconds, time.perf_counter() - started, protocol.forwards)
    differences: tuple[Difference, ...] = ()
    if not plan.skip_certified:
        aware = _run(images, certificate, plan.certificate_aware(), progress)
        differences = _differences(aware, protocol)
    report = _report(protocol, cost, differences)
    if report.status == "failed":
        raise SoundnessError(report.problems[0], report)
    return report


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
    """The same report without attacks: every correct image is certified or undecided."""
    x = _checked_batch(model, x, y)
    plan = Plan(_grid(eps), (), audit=0, skip_certified=True, seed=0, block_size=BLOCK_SIZE)
    started = time.perf_counter()
    certificate = certify(model, x, arithmetic=arithmetic, batch_size=batch_size, progress=progress)
    return compare_certified(model, x, y, certificate, plan, certify_seconds=time.perf_counter() - started)


def _checked_batch(model: CertifiedClassifier, x: Tensor, y: Tensor) -> Tensor:
    """The images in the network's dtype: the tensor that is certified is the tensor that is attacked."""
    require_unaltered(model)
    check_images(model, x)
    if len(x) == 0:
        raise DataError("no images were given; give at least one")
    check_labels(model, x, y)
    return x.to(model.dtype)


def _grid(eps: EpsArgument) -> tuple[float, ...]:
    if isinstance(eps, str | numbers.Real):
        return parse_eps_grid([eps])
    if isinstance(eps, Tensor):
        return parse_eps_grid(eps.flatten().tolist())
    if not isinstance(eps, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"eps {eps!r} is not a number or a list of numbers")
    return parse_eps_grid(eps)


def _plan(
    eps: EpsArgument,
    attacks: Sequence[str | EmpiricalAttack],
    audit: int | str,
    skip_certified: bool,
    seed: int,
    block_size: int,
) -> Plan:
    limit = parse_audit(audit)
    if isinstance(attacks, str):
        attacks = (attacks,)
    chosen = cheapest_first([get_attack(attack) if isinstance(attack, str) else attack for attack in attacks])
    names = [attack.name for attack in chosen]
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"attacks must be at least one and differ in name, got {names}")
    if type(block_size) is not int or type(seed) is not int or block_size < 1 or seed < 0:
        raise ConfigError(f"batch_size must be an int >= 1 and seed an int >= 0, got {block_size!r} and {seed!r}")
    return Plan(_grid(eps), chosen, limit, skip_certified, seed, block_size)


def _run(images: Images, certificate: Certificate, plan: Plan, progress: bool) -> Protocol:
    label = "attack" if plan.skip_certified else "attack (full protocol)"
    with progress_bar(label, total=plan.units(images), enabled=progress and bool(plan.attacks)) as advance:
        protocol = Protocol(images, certificate, plan, advance)
        protocol.run()
    return protocol


def _report(protocol: Protocol, cost: Cost, differences: tuple[Difference, ...]) -> Report:
    certificate, plan, images = protocol.certificate, protocol.plan, protocol.images
    findings = protocol.all_findings()
    wrong = contradictions(certificate.radius, findings)
    status = {eps: protocol.status(eps) for eps in plan.eps}
    return Report(
        status="failed" if wrong else "ok",
        problems=tuple(describe_contradiction(index, certificate.radius, findings) for index in wrong),
        model=summarise_model(images.model),
        dataset=DatasetSummary("unnamed", "test", len(images), "given arrays"),
        lipschitz=lipschitz_upper_bound(images.model),
        arithmetic=certificate.arithmetic,
        clean_accuracy=_share(protocol.correct),
        eps=tuple(_eps_result(protocol, eps, status[eps]) for eps in plan.eps),
        audit=audit_result(certificate.radius, findings, protocol.attacked_certified),
        skipped_certified=plan.skip_certified,
        attacks=tuple(attack.name for attack in plan.attacks),
        cost=cost,
        environment=describe_environment(images.model, plan.seed),
        points=Points(images.y.cpu(), certificate, findings.distance, tuple(findings.attack), status),
        differences=differences,
    )


def _eps_result(protocol: Protocol, eps: float, status: Sequence[str]) -> EpsResult:
    certified = protocol.certified(eps)
    return EpsResult(
        eps=eps,
        verified_robust_accuracy=_share(certified),
        vra_interval95=wilson_interval95(int(certified.sum()), len(certified)),
        empirical_robust_accuracy={
            attack.name: _share(protocol.robust(attack, eps)) for attack in protocol.plan.attacks
        },
        counts={name: sum(one == name for one in status) for name in STATUSES},
    )


def _differences(aware: Protocol, full: Protocol) -> tuple[Difference, ...]:
    """Images whose status depends on the protocol: undecided ones, through other random draws."""
    return tuple(
        Difference(eps, index, was, now)
        for eps in full.plan.eps
        for index, (was, now) in enumerate(zip(aware.status(eps), full.status(eps), strict=True))
        if was != now
    )


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())
