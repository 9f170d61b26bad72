"""The findings in words and one table: the same rows for the terminal and for Markdown."""

from __future__ import annotations

from lip_plugin.certificates.program import SPOKEN_OF
from lip_plugin.evaluate import LipschitzAudit, Report, Tightness
from lip_plugin.types import format_eps
from lip_plugin.untrusted import printable


def table_header(report: Report) -> list[str]:
    attacks = [f"survives {attack}" for attack in report.attacks]
    return ["eps (L2)", "proved (VRA)", "95 % interval", *attacks, "certified", "undecided", "broken", "wrong"]


def table_rows(report: Report) -> list[list[str]]:
    """One row per radius, accuracies in percent."""
    return [
        [
            format_eps(result.eps),
            percent(result.verified_robust_accuracy),
            " to ".join(percent(bound, unit="") for bound in result.vra_interval95),
            *(percent(result.empirical_robust_accuracy[attack]) for attack in report.attacks),
            *(str(result.counts[name]) for name in ("certified", "undecided", "broken", "wrong")),
        ]
        for result in report.eps
    ]


def headline(report: Report) -> str:
    model = report.model
    disagrees = int(report.points.disagrees.sum())
    warning = f"; model(x) DISAGREES with its certificate on {disagrees} images, none of them certified"
    return (
        f"{printable(model.name)} ({model.params:,} parameters) on {report.dataset.in_words}: "
        f"clean accuracy {percent(report.clean_accuracy)}{warning if disagrees else ''}"
    )


def line(report: Report) -> str:
    """The headline with what is proved, for those who look at a value."""
    shares = (f"{percent(result.verified_robust_accuracy)} at {format_eps(result.eps)}" for result in report.eps)
    failed = "FAILED: " if report.status == "failed" else ""
    return f"{failed}{headline(report)}, proved {', '.join(shares)}"


def remarks(report: Report) -> list[str]:
    """What a reader has to know beside the table."""
    bound = report.lipschitz
    proved_by = f"{bound.method}{', tight' if bound.effort == 'tight' else ''}"
    lines = [
        f"Lipschitz upper bound into features {bound.value:.4f} ({proved_by}), arithmetic {report.arithmetic}; "
        f"network {report.model.digest[:12]}.",
        f"What is proved speaks of {report.arithmetic}: {SPOKEN_OF.get(report.arithmetic, 'not known')}. "
        "Clean and certified count where model(x) gives the same label; "
        "a point breaks an image where model(x) or its operators in float64 misclassify it.",
    ]
    if report.data is not None:
        lines.append(f"Files that the images are from: {report.data.in_words}.")
    strays = int(report.points.certificate.strays.sum())
    if strays:
        lines.append(
            f"model(x) strays from what is certified on {strays} images (see docs/soundness.md): attacks followed its "
            "operators in float64 too."
        )
    if report.tightness is not None:
        lines.append(_tightness_line(report.tightness))
    if report.lipschitz_audit is not None:
        lines.append(_lipschitz_line(report.lipschitz_audit))
    if report.attacks:
        lines += [_audit_line(report), _protocol_line(report)]
        cost = report.cost
        lines.append(
            f"Certified in {cost.certify_seconds:.1f} s, attacked in {cost.attack_seconds:.1f} s "
            f"with {cost.attack_forwards:,} image-forwards (seed {report.environment['seed']})."
        )
    return lines + [f"FAILED: {problem}." for problem in report.problems]


ADVICE = "Trained without this bound; its certificate says little."
"""Where the pair bounds are loose."""


def _tightness_line(found: Tightness) -> str:
    return (
        f"Tightness: the gradient that decides a radius is {found.median:.3f} of its pair bound, "
        f"median of {found.images} certified images (at most 1).{f' {ADVICE}' if found.is_loose else ''}"
    )


def _lipschitz_line(audit: LipschitzAudit) -> str:
    share = percent(audit.lower_bound / audit.upper_bound) if audit.upper_bound > 0 else "all"
    return (
        f"Lipschitz audit: a pair of points shows a constant of at least {audit.lower_bound:.4f}, {share} of the bound "
        f"({audit.forwards:,} image-forwards)."
    )


def _audit_line(report: Report) -> str:
    audit = report.audit
    ratio = audit.smallest_distance_over_radius
    closest = (
        "no adversarial point found" if ratio is None else f"smallest adversarial distance over radius {ratio:.3f}"
    )
    return f"Audit: {audit.attacked_certified} certified points attacked, {audit.broken} unsound; {closest}."


def _protocol_line(report: Report) -> str:
    if report.skipped_certified:
        return (
            "Certified points were not attacked except in the audit: proved <= survives holds by construction, "
            "and only the audit and the per-image distances test it."
        )
    count = len(report.differences)
    listed = "; ".join(
        f"image {one.index} at {format_eps(one.eps)}: {one.certificate_aware} then {one.full}"
        for one in report.differences[:5]
    )
    return (
        "Full protocol: every correct point was attacked. "
        f"The certificate-aware run differs on {count} points{f' ({listed})' if count else ''}."
    )


def percent(share: float, unit: str = " %") -> str:
    return f"{100 * share:.1f}{unit}"
