"""A bundle as a stranger packed it: read with suspicion, nothing in it trusted or run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lip_plugin.devices import usable_device
from lip_plugin.errors import CheckpointError
from lip_plugin.network.kinds import foreign_kinds
from lip_plugin.schema import read_points, read_report
from lip_plugin.submission.boards.registry import get_board
from lip_plugin.submission.layout import MANIFEST, MODEL, PERTURBATIONS, POINTS, REPORT_JSON
from lip_plugin.submission.manifest import Manifest
from lip_plugin.submission.perturbations import Perturbations, read_perturbations
from lip_plugin.submission.submission import Submission
from lip_plugin.untrusted import few
from lip_plugin.verification.checks import ending
from lip_plugin.zoo import read_card
from lip_plugin.zoo.load import load_model


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds: the submission that it ``claimed``, whose values fit each other, and its points."""

    directory: Path
    manifest: Manifest
    claimed: Submission
    stored: Perturbations


def read_bundle(directory: Path, manifest: Manifest, device: str | None) -> Bundle:
    """The network on ``device``, its default where that is None.

    Raises ConfigError for the device, EndedError for the first part of the bundle that is not what it should be.
    """
    place = None if device is None else usable_device(device)
    with ending(MODEL, "content", "readable"):
        card = read_card(directory / MODEL)
        foreign = foreign_kinds(layer.model_dump() for layer in card.network)
        if foreign:  # before anything is loaded: the package that brings a kind would be imported
            raise CheckpointError(
                f"the network has {few(sorted(foreign))}, no operators of lip-plugin; verify runs no others"
            )
        model = load_model(directory / MODEL)
    with ending(MANIFEST, "content", "readable"):
        get_board(manifest.board)
    with ending(REPORT_JSON, "content", "readable"):
        report = read_report(directory / REPORT_JSON)
    with ending(POINTS, "content", "readable"):
        points = read_points(directory / POINTS, tuple(result.eps for result in report.eps))
        if not len(points) == manifest.n == report.dataset.n:
            raise CheckpointError(f"{len(points)} images, bundle.json says {manifest.n}, the report {report.dataset.n}")
    with ending(PERTURBATIONS, "content", "readable"):
        stored = read_perturbations(
            directory / PERTURBATIONS, images=manifest.n, image_shape=model.input_shape, dtype=model.dtype
        )
    model = model if place is None else model.to(place)
    claimed = Submission(manifest.board, card, model, report, points, manifest.images_sha256)
    return Bundle(directory, manifest, claimed, stored)
