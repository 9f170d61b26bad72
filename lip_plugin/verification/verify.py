"""`lip verify`: everything of a bundle that follows from weights and images, measured again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lip_plugin.certificates import lipschitz_upper_bound
from lip_plugin.data import LabelledImages
from lip_plugin.errors import CheckpointError, DataError, LipPluginError
from lip_plugin.evaluate import Report
from lip_plugin.network import CertifiedClassifier
from lip_plugin.submission.derived import derived_files
from lip_plugin.submission.images_digest import images_sha256
from lip_plugin.submission.layout import (
    ADVERSARIAL_IMAGES,
    IMAGES,
    MANIFEST,
    MODEL,
    PERTURBATIONS,
    REPORT,
    state_dict_file,
)
from lip_plugin.submission.manifest import Manifest, read_manifest
from lip_plugin.submission.optional_images import adversarial_images, first_pictures
from lip_plugin.submission.perturbations import Perturbations, read_perturbations
from lip_plugin.submission.robustbench import state_dict_bytes
from lip_plugin.submission.submission import Submission
from lip_plugin.types import format_eps
from lip_plugin.untrusted import printable
from lip_plugin.verification.agreement import numbers_agree
from lip_plugin.verification.binaries import saved_tensors_check
from lip_plugin.verification.checks import Check, Verification, check, not_checked
from lip_plugin.verification.claims import Claims, read_claims
from lip_plugin.verification.documents import document_checks
from lip_plugin.verification.files import file_checks
from lip_plugin.verification.images import Images, bundle_images
from lip_plugin.verification.page import page_checks
from lip_plugin.verification.points import point_checks, tried_points
from lip_plugin.verification.recreate import TRUSTED, measured_report, proved_report
from lip_plugin.zoo import ModelCard, read_card
from lip_plugin.zoo.load import load_model

_REPORT_JSON, _POINTS, _PAGE = (f"{REPORT}/{name}" for name in ("report.json", "points.csv", "report.html"))


@dataclass(frozen=True)
class _Bundle:
    """What a bundle holds, once it could be read."""

    directory: Path
    manifest: Manifest
    card: ModelCard
    model: CertifiedClassifier
    claims: Claims
    stored: Perturbations


def verify_bundle(
    directory: Path, *, images: Images | None = None, device: str | None = None, progress: bool = False
) -> Verification:
    """Re-create what the bundle in ``directory`` claims. A stranger packed it: nothing in it is trusted or run.

    ``images`` gives the evaluated ones; None takes those in the bundle, or those shipped. Raises CheckpointError
    where there is no manifest, and so no bundle; ConfigError as ``images`` does. Whatever else is wrong is a check
    that differs; what needs images that are not there is not checked, and says so.
    """
    manifest = read_manifest(directory)
    found = Verification(manifest.name, manifest.board, trusted=TRUSTED)
    found.add(file_checks(directory, manifest))
    try:
        bundle = _read(directory, manifest, device)
    except (LipPluginError, OSError) as error:
        found.add([check(MODEL, "model, report and perturbations", "readable", error, agrees=False)])
        return found
    found.add(_network_checks(bundle))
    try:
        evaluated = bundle_images(directory, manifest, bundle.card, bundle.model, images)
    except DataError as error:
        found.add([not_checked(MANIFEST, "images, certificates, accuracies and adversarial points", str(error))])
        return found
    same = _images_check(bundle, evaluated)
    found.add([same])
    if same.verdict == "agrees":
        found.add(_evaluation_checks(bundle, evaluated, progress))
    return found


def _read(directory: Path, manifest: Manifest, device: str | None) -> _Bundle:
    """Raises LipPluginError or OSError for the first part that is not what it should be."""
    card = read_card(directory / MODEL)
    model = load_model(directory / MODEL, device=device)
    claims = read_claims(directory / _REPORT_JSON, directory / _POINTS)
    if len(claims.attack) != manifest.n:
        raise CheckpointError(f"{_POINTS} has {len(claims.attack)} images, bundle.json says {manifest.n}")
    stored = read_perturbations(
        directory / PERTURBATIONS, images=manifest.n, image_shape=model.input_shape, dtype=model.dtype
    )
    return _Bundle(directory, manifest, card, model, claims, stored)


def _network_checks(bundle: _Bundle) -> Iterator[Check]:
    """What follows from the weights alone."""
    manifest, card = bundle.manifest, bundle.card
    yield check(MANIFEST, "name", manifest.name, card.name)
    yield check(MANIFEST, "lip-plugin", manifest.lip_plugin, bundle.claims.report.environment.get("lip_plugin"))
    document = bundle.claims.document
    yield check(_REPORT_JSON, "network (digest)", _at(document, "model", "digest"), bundle.model.digest)
    bound = lipschitz_upper_bound(bundle.model).value
    yield _number(_REPORT_JSON, "Lipschitz upper bound", _at(document, "lipschitz", "upper_bound"), bound, _digits)
    file = state_dict_file(card.name)
    if file in manifest.files:
        yield saved_tensors_check(bundle.directory, file, "weights of the model", state_dict_bytes(bundle.model))


def _images_check(bundle: _Bundle, images: LabelledImages) -> Check:
    """Nothing else can be compared where the images are others."""
    claimed = bundle.manifest.images_sha256
    if images.image_shape != bundle.model.input_shape or len(images) != bundle.manifest.n:
        measured = f"{len(images)} images of shape {images.image_shape}"
    else:
        measured = images_sha256(images)
    return check(MANIFEST, f"{len(images)} images (sha256)", claimed, measured)


def _evaluation_checks(bundle: _Bundle, images: LabelledImages, progress: bool) -> Iterator[Check]:
    tried = tried_points(bundle.model, images, bundle.stored)
    yield from point_checks(tried, bundle.claims)
    proved = proved_report(bundle.model, bundle.card, images, bundle.claims, progress=progress)
    report = measured_report(proved, tried.distance(len(images)), bundle.claims)
    yield from _headline_checks(bundle.claims, report)
    submission = Submission(bundle.manifest.board, bundle.card, bundle.model, report, bundle.manifest.images_sha256)
    yield from document_checks(bundle.directory, derived_files(submission), written_by=bundle.manifest.lip_plugin)
    pictures = first_pictures(images, bundle.stored) if IMAGES in bundle.manifest.files else ()
    if _PAGE in bundle.manifest.files:
        shown = dataclasses.replace(report, adversarial=pictures)
        yield from page_checks(bundle.directory, _PAGE, shown, gallery=bool(pictures))
    if ADVERSARIAL_IMAGES in bundle.manifest.files:
        expected = adversarial_images(images, bundle.stored, report.points.distance)
        yield saved_tensors_check(bundle.directory, ADVERSARIAL_IMAGES, "adversarial images", expected)


def _headline_checks(claims: Claims, report: Report) -> Iterator[Check]:
    """The figures that people quote; `document_checks` holds every number of every file against the measured one."""
    document = claims.document
    yield _number(_REPORT_JSON, "clean accuracy", _at(document, "clean_accuracy"), report.clean_accuracy, _percent)
    for position, result in enumerate(report.eps):
        claimed = document["eps"][position]
        what = f"proved (VRA) at {format_eps(result.eps)}"
        yield _number(
            _REPORT_JSON, what, _at(claimed, "verified_robust_accuracy"), result.verified_robust_accuracy, _percent
        )
        for attack, share in result.empirical_robust_accuracy.items():
            what = f"survives {attack} at {format_eps(result.eps)}"
            yield _number(_REPORT_JSON, what, _at(claimed, "empirical_robust_accuracy", attack), share, _percent)


def _number(file: str, what: str, claimed: Any, measured: float, shown_as: Callable[[float], str]) -> Check:
    is_number = isinstance(claimed, int | float)
    shown = shown_as(claimed) if is_number else printable(str(claimed), longest=40)
    return check(file, what, shown, shown_as(measured), agrees=is_number and numbers_agree(claimed, measured))


def _digits(value: float) -> str:
    return f"{value:.9g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _at(document: Any, *names: str) -> Any:
    """The value under these keys; None where there is none."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document
