"""`lip verify`: a bundle is read, measured again, and compared.

First the claimed values against the measured ones, then every file against what the claimed values derive.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from lip_plugin.certificates import bounds_of
from lip_plugin.data import LabelledImages
from lip_plugin.devices import keep_float32
from lip_plugin.errors import LipPluginError
from lip_plugin.files import CARD_FILE, WEIGHTS_FILE
from lip_plugin.network.record import card_text, technical_record
from lip_plugin.submission.certificate_statement import certificate_statement
from lip_plugin.submission.derived import derived_files
from lip_plugin.submission.layout import ADVERSARIAL_IMAGES, IMAGES, MODEL, PERTURBATIONS, REPORT, state_dict_file
from lip_plugin.submission.manifest import read_manifest
from lip_plugin.submission.optional_images import adversarial_images, first_pictures
from lip_plugin.submission.robustbench import state_dict_bytes
from lip_plugin.submission.submission import Submission
from lip_plugin.verification.binaries import saved_tensors_check
from lip_plugin.verification.bundle import Bundle, read_bundle
from lip_plugin.verification.checks import Check, EndedError, Verification, ending
from lip_plugin.verification.compare import value_checks, weight_checks
from lip_plugin.verification.cost import require_time
from lip_plugin.verification.files import file_checks
from lip_plugin.verification.images import Images, bundle_images, image_checks
from lip_plugin.verification.measured import TRUSTED, Measured, measure
from lip_plugin.verification.texts import text_checks

_CARD = f"{MODEL}/{CARD_FILE}"
_IMPOSSIBLE = (LipPluginError, ValueError, ArithmeticError, LookupError, TypeError)
"""What a claim that no evaluation can have made ends in, or a network that has no proof."""


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
    try:
        found.add(file_checks(directory, manifest))
        bundle = read_bundle(directory, manifest, device)
        model, claimed = bundle.claimed.model, bundle.claimed
        with bounds_of(claimed.report.lipschitz.effort):
            require_time(model, manifest.n, time_limit, str(directory))
        with ending(MODEL, "content", "readable"):
            found.add(weight_checks(bundle))
            found.add(_model_checks(bundle))
        keep_float32(model.device)
        evaluated = bundle_images(bundle, images)
        found.add(image_checks(bundle, evaluated, given=images is not None))
        with ending(REPORT, "evaluation", "one that can be made again", _IMPOSSIBLE):
            measured = measure(bundle, evaluated, progress=progress)
            found.add(value_checks(claimed, measured))
            found.add(_derived_checks(bundle, derived_files(claimed)))
            found.add(_adversarial_checks(bundle, evaluated, measured))
            pictures = first_pictures(evaluated, bundle.stored)
            found.report = dataclasses.replace(measured.report, adversarial=pictures)
            found.statement = certificate_statement(claimed)
    except EndedError as end:
        found.add([end.check])
    return found


def _model_checks(bundle: Bundle) -> Iterator[Check]:
    """The card and the weights in plain torch, as they are written for this network."""
    claimed, directory = bundle.claimed, bundle.directory
    yield from text_checks(directory, {_CARD: _card_text(claimed)}, written_by=bundle.manifest.lip_plugin)
    file = state_dict_file(claimed.card.name)
    yield saved_tensors_check(directory, file, "weights of the model", state_dict_bytes(claimed.model))


def _card_text(claimed: Submission) -> str:
    """The maker's words, and what follows from the network. Loading has compared hashes."""
    told = claimed.card.model_dump(mode="json", by_alias=True)
    follows = {"foreign_operators": [], **technical_record(claimed.model, b""), "sha256": told["sha256"]}
    return card_text({**told, **follows})


def _derived_checks(bundle: Bundle, derived: Mapping[str, str]) -> Iterator[Check]:
    """All other texts, and no file that is listed and hashed, but nothing that a bundle has."""
    known = {_CARD, f"{MODEL}/{WEIGHTS_FILE}", PERTURBATIONS, state_dict_file(bundle.claimed.card.name)}
    known |= {*derived, IMAGES, ADVERSARIAL_IMAGES}
    for file in bundle.manifest.files:
        if file not in known:
            yield Check(file, "purpose", "listed in bundle.json", "no file of a bundle")
    yield from text_checks(bundle.directory, derived, written_by=bundle.manifest.lip_plugin)


def _adversarial_checks(bundle: Bundle, images: LabelledImages, measured: Measured) -> Iterator[Check]:
    """All images are put into memory only where the file has as many bytes as they take."""
    if ADVERSARIAL_IMAGES not in bundle.manifest.files or not (bundle.directory / ADVERSARIAL_IMAGES).is_file():
        return  # where it is listed and missing, a check has said so
    found = (bundle.directory / ADVERSARIAL_IMAGES).stat().st_size
    least = 4 * len(images) * math.prod(images.image_shape)
    if found < least:
        yield Check(ADVERSARIAL_IMAGES, "bytes", f"at least {least}", found)
        return
    expected = adversarial_images(images, bundle.stored, measured.report.points.distance)
    yield saved_tensors_check(bundle.directory, ADVERSARIAL_IMAGES, "adversarial images", expected)
