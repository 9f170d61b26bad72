"""`lip verify`: everything of a bundle that follows from weights and images, measured again.

Two steps: the claimed values against the measured ones, and every text file against what the claimed values derive.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lip_plugin.data import LabelledImages
from lip_plugin.devices import keep_float32
from lip_plugin.errors import CheckpointError, DataError, LipPluginError
from lip_plugin.evaluate import Report
from lip_plugin.files import CARD_FILE, WEIGHTS_FILE
from lip_plugin.network import CertifiedClassifier
from lip_plugin.network.kinds import foreign_kinds
from lip_plugin.network.record import card_text, technical_record
from lip_plugin.schema import read_points, read_report
from lip_plugin.submission.boards.registry import get_board
from lip_plugin.submission.certificate_statement import certificate_statement
from lip_plugin.submission.derived import derived_files
from lip_plugin.submission.images_digest import images_sha256
from lip_plugin.submission.layout import (
    ADVERSARIAL_IMAGES,
    IMAGES,
    MANIFEST,
    MODEL,
    PERTURBATIONS,
    POINTS,
    REPORT,
    REPORT_JSON,
    state_dict_file,
)
from lip_plugin.submission.manifest import Manifest, read_manifest
from lip_plugin.submission.optional_images import adversarial_images, first_pictures
from lip_plugin.submission.perturbations import Perturbations, read_perturbations
from lip_plugin.submission.robustbench import other_labels, state_dict_bytes
from lip_plugin.submission.submission import Submission
from lip_plugin.untrusted import few
from lip_plugin.verification.binaries import saved_tensors_check
from lip_plugin.verification.checks import Check, Verification, check, failed, not_checked
from lip_plugin.verification.claims import TRUSTED, Claims, trust_checks
from lip_plugin.verification.cost import require_time
from lip_plugin.verification.documents import document_checks
from lip_plugin.verification.figures import figure_checks, network_checks
from lip_plugin.verification.files import file_checks, listing_check
from lip_plugin.verification.images import Images, bundle_images, included_images
from lip_plugin.verification.measured import measured_report
from lip_plugin.verification.points import point_checks, tried_points
from lip_plugin.zoo import ModelCard, read_card
from lip_plugin.zoo.load import load_model


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
    directory: Path,
    *,
    images: Images | None = None,
    device: str | None = None,
    time_limit: float = 1800,
    progress: bool = False,
) -> Verification:
    """Re-create what the bundle in ``directory`` claims. A stranger packed it: nothing in it is trusted or run.

    ``images`` gives the evaluated ones; None takes those in the bundle, or those shipped. Raises CheckpointError
    where there is no manifest, and so no bundle; ConfigError for the device, as ``images`` does, and before the work
    where the network's shapes ask for more than ``time_limit`` seconds (at which `lip verify` itself ends). Whatever
    else is wrong is a check that differs; what needs images that are not there is not checked, and says so.
    """
    manifest = read_manifest(directory)
    found = Verification(manifest.name, manifest.board, trusted=TRUSTED)
    if (strange := listing_check(directory)) is not None:
        found.add([strange])
        return found
    found.add(file_checks(directory, manifest))
    try:
        bundle = _read(directory, manifest)
        bundle = dataclasses.replace(bundle, model=load_model(directory / MODEL, device=device))
        require_time(bundle.model, manifest.n, time_limit, str(directory))
        with _readable(MODEL):
            found.add(_network_checks(bundle))
    except _UnreadableError as error:
        found.add([error.check])
        return found
    keep_float32(bundle.model.device)
    try:
        evaluated = bundle_images(directory, manifest, bundle.card, bundle.model, images)
    except DataError as error:
        found.add([not_checked(MANIFEST, "images, certificates, accuracies and adversarial points", str(error))])
        return found
    except CheckpointError as error:
        found.add([failed(IMAGES, "images", "readable", error)])
        return found
    same = _images_check(bundle, evaluated)
    found.add([same])
    if images is not None and IMAGES in manifest.files:
        found.add(_included_check(bundle))
    if same.verdict == "agrees":
        try:
            found.add(_evaluation_checks(bundle, evaluated, found, progress))
        except _IMPOSSIBLE as error:
            found.add([failed(REPORT, "evaluation", "one that can be made again", error)])
    return found


_IMPOSSIBLE = (LipPluginError, ValueError, ArithmeticError, LookupError, TypeError)
"""What a claim that no evaluation can have made ends in, or a network that has no proof."""


class _UnreadableError(Exception):
    """Carries the check that has ended the verification."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.line())
        self.check = check


@contextmanager
def _readable(file: str) -> Generator[None]:
    try:
        yield
    except (LipPluginError, OSError) as error:
        raise _UnreadableError(failed(file, "content", "readable", error)) from error


def _read(directory: Path, manifest: Manifest) -> _Bundle:
    """Raises _UnreadableError for the first part that is not what it should be."""
    with _readable(MODEL):
        card = read_card(directory / MODEL)
        foreign = foreign_kinds(layer.model_dump() for layer in card.network)
        if foreign:  # before anything is loaded: the package that brings a kind would be imported
            raise CheckpointError(
                f"the network has {few(sorted(foreign))}, no operators of lip-plugin; verify runs no others"
            )
        model = load_model(directory / MODEL)
    with _readable(MANIFEST):
        get_board(manifest.board)
    with _readable(REPORT_JSON):
        report = read_report(directory / REPORT_JSON)
    with _readable(POINTS):
        points = read_points(directory / POINTS, tuple(result.eps for result in report.eps))
        if not len(points) == manifest.n == report.dataset.n:
            raise CheckpointError(f"{len(points)} images, bundle.json says {manifest.n}, the report {report.dataset.n}")
    with _readable(PERTURBATIONS):
        stored = read_perturbations(
            directory / PERTURBATIONS, images=manifest.n, image_shape=model.input_shape, dtype=model.dtype
        )
    return _Bundle(directory, manifest, card, model, Claims(report, points), stored)


def _network_checks(bundle: _Bundle) -> Iterator[Check]:
    """What follows from the weights alone."""
    manifest, card = bundle.manifest, bundle.card
    yield check(MANIFEST, "name", manifest.name, card.name)
    yield check(MANIFEST, "data set", manifest.dataset, bundle.claims.report.dataset.name)
    yield check(MANIFEST, "lip-plugin", manifest.lip_plugin, bundle.claims.report.environment["lip_plugin"])
    yield from network_checks(bundle.claims, bundle.model)
    yield from document_checks(
        bundle.directory, {f"{MODEL}/{CARD_FILE}": _card_text(bundle)}, written_by=manifest.lip_plugin
    )
    file = state_dict_file(card.name)
    yield saved_tensors_check(bundle.directory, file, "weights of the model", state_dict_bytes(bundle.model))


def _card_text(bundle: _Bundle) -> str:
    """The card as it is written: the maker's words, and what follows from the network. Loading has compared hashes."""
    told = bundle.card.model_dump(mode="json", by_alias=True)
    follows = {"foreign_operators": [], **technical_record(bundle.model, b""), "sha256": told["sha256"]}
    return card_text({**told, **follows})


def _images_check(bundle: _Bundle, images: LabelledImages) -> Check:
    """Nothing else can be compared where the images are others."""
    claimed = bundle.manifest.images_sha256
    if images.image_shape != bundle.model.input_shape or len(images) != bundle.manifest.n:
        measured = f"{len(images)} images of shape {images.image_shape}"
    else:
        measured = images_sha256(images)
    return check(MANIFEST, f"{len(images)} images (sha256)", claimed, measured)


def _included_check(bundle: _Bundle) -> Iterator[Check]:
    """``images.npz`` where others were given: it must hold the same."""
    try:
        measured = images_sha256(included_images(bundle.directory, bundle.manifest, bundle.model))
    except CheckpointError as error:
        yield failed(IMAGES, "images (sha256)", bundle.manifest.images_sha256, error)
    else:
        yield check(IMAGES, "images (sha256)", bundle.manifest.images_sha256, measured)


def _evaluation_checks(bundle: _Bundle, images: LabelledImages, found: Verification, progress: bool) -> Iterator[Check]:
    claims, manifest = bundle.claims, bundle.manifest
    tried = tried_points(bundle.model, images, bundle.stored)
    yield from point_checks(tried, claims)
    report = measured_report(bundle.model, bundle.card, images, claims, tried, progress=progress)
    yield check(REPORT_JSON, "status", claims.report.status, report.status, agrees=report.status == "ok")
    yield _plain_check(bundle, images, report)
    yield from figure_checks(claims, report)
    yield from trust_checks(claims, report)
    claimed = Submission(
        manifest.board, bundle.card, bundle.model, claims.report, claims.points, manifest.images_sha256
    )
    for refusal in get_board(manifest.board).refusals_after(claimed):
        yield check(MANIFEST, f"board {manifest.board}, {refusal.rule}", refusal.expected, refusal.found, agrees=False)
    derived = derived_files(claimed)
    yield from _unknown_files(bundle, derived)
    yield from document_checks(bundle.directory, derived, written_by=manifest.lip_plugin)
    if ADVERSARIAL_IMAGES in manifest.files:
        yield _adversarial_check(bundle, images, report)
    found.report = dataclasses.replace(report, adversarial=first_pictures(images, bundle.stored))
    found.statement = certificate_statement(claimed)


def _adversarial_check(bundle: _Bundle, images: LabelledImages, report: Report) -> Check:
    """All images are put into memory only where the file has as many bytes as they take."""
    found = (bundle.directory / ADVERSARIAL_IMAGES).stat().st_size
    least = 4 * len(images) * math.prod(images.image_shape)
    if found < least:
        return check(ADVERSARIAL_IMAGES, "bytes", f"at least {least}", found, agrees=False)
    expected = adversarial_images(images, bundle.stored, report.points.distance)
    return saved_tensors_check(bundle.directory, ADVERSARIAL_IMAGES, "adversarial images", expected)


def _plain_check(bundle: _Bundle, images: LabelledImages, report: Report) -> Check:
    """What foreign boards run; `_network_checks` holds the weights in its file against the model's."""
    name, prediction = bundle.card.name, report.points.certificate.prediction
    others = other_labels(bundle.model, name, images, prediction)
    what = f"labels of {len(prediction)} images in plain torch"
    return check(state_dict_file(name), what, "as certified", f"{len(others)} others" if others else "as certified")


def _unknown_files(bundle: _Bundle, derived: Iterable[str]) -> Iterator[Check]:
    """Listed and hashed, but nothing that a bundle has."""
    known = {f"{MODEL}/{CARD_FILE}", f"{MODEL}/{WEIGHTS_FILE}", PERTURBATIONS, state_dict_file(bundle.card.name)}
    known |= {*derived, IMAGES, ADVERSARIAL_IMAGES}
    for file in bundle.manifest.files:
        if file not in known:
            yield check(file, "purpose", "listed in bundle.json", "no file of a bundle", agrees=False)
