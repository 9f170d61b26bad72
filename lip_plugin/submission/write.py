"""All files of a bundle, complete or not at all; the manifest is the last one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import torch

from lip_plugin.data import LabelledImages
from lip_plugin.errors import CheckpointError, ConfigError
from lip_plugin.files import Output, check_output_directory, output_directory
from lip_plugin.network import require_unaltered
from lip_plugin.network.record import write_network
from lip_plugin.submission.derived import derived_files
from lip_plugin.submission.layout import (
    ADVERSARIAL_IMAGES,
    IMAGES,
    MANIFEST,
    MODEL,
    PERTURBATIONS,
    TOP_LEVEL,
    state_dict_file,
)
from lip_plugin.submission.manifest import Manifest, bundle_files, file_records, read_manifest
from lip_plugin.submission.optional_images import adversarial_images, images_npz
from lip_plugin.submission.perturbations import Perturbations
from lip_plugin.submission.robustbench import state_dict_bytes
from lip_plugin.submission.submission import Submission
from lip_plugin.untrusted import few


def check_bundle_directory(directory: Path, *, overwrite: bool) -> None:
    """Raise ConfigError where ``directory`` is somebody else's. ``overwrite`` replaces a bundle, nothing else."""
    check_output_directory(directory, replaceable=TOP_LEVEL if overwrite else frozenset())
    if not overwrite or not directory.is_dir() or not any(directory.iterdir()):
        return
    try:
        others = sorted(set(bundle_files(directory)) - set(read_manifest(directory).files))
    except CheckpointError as error:
        raise ConfigError(f"--overwrite replaces bundles only: {error}") from error
    if others:
        raise ConfigError(f"{directory} holds {few(others)}, which --overwrite does not replace; choose another one")


def bundle_directory(directory: Path, *, overwrite: bool = False) -> AbstractContextManager[Output]:
    """Room for a bundle, held from before the work, as of `output_directory`."""
    return output_directory(directory, check=partial(check_bundle_directory, directory, overwrite=overwrite))


def write_bundle(
    submission: Submission,
    perturbations: Perturbations,
    images: LabelledImages,
    directory: Path,
    *,
    include_images: bool = False,
    overwrite: bool = False,
) -> Manifest:
    """A directory of `fill_bundle`; it appears under its name only when complete.

    Raises ConfigError where writing is impossible, DataError where the images cannot be read any more.
    """
    with bundle_directory(directory, overwrite=overwrite) as output, output.filled() as folder:
        return fill_bundle(submission, perturbations, images, folder, include_images=include_images)


def fill_bundle(
    submission: Submission,
    perturbations: Perturbations,
    images: LabelledImages,
    folder: Path,
    *,
    include_images: bool = False,
) -> Manifest:
    """Write the bundle's files.

    ``perturbations`` are those of `stored_perturbations`, their file in this folder already or elsewhere; ``images``
    those of the submission. With ``include_images`` they are part of the bundle, otherwise they are nowhere in it.
    Raises OSError, and DataError where the images cannot be read any more.
    """
    write_network_of(submission, folder / MODEL)
    for name, content in _files(submission):
        _write(folder, name, content)
    if perturbations.path != folder / PERTURBATIONS:
        shutil.copyfile(perturbations.path, folder / PERTURBATIONS)
    if include_images:
        distance = torch.tensor(submission.points.adversarial_distance, dtype=torch.float64)
        _write(folder, IMAGES, images_npz(images))
        _write(folder, ADVERSARIAL_IMAGES, adversarial_images(images, perturbations, distance))
    manifest = _manifest(submission, folder)
    document = json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
    _write(folder, MANIFEST, (document + "\n").encode("utf-8"))
    return manifest


def write_network_of(submission: Submission, directory: Path) -> None:
    """A model directory for `lp.load_model`."""
    require_unaltered(submission.model)
    directory.mkdir(parents=True)
    write_network(submission.model, directory, submission.card.model_dump(mode="json", by_alias=True))


def _files(submission: Submission) -> Iterator[tuple[str, bytes]]:
    for name, text in derived_files(submission).items():
        yield name, text.encode("utf-8")
    yield state_dict_file(submission.card.name), state_dict_bytes(submission.model)


def _write(bundle: Path, name: str, content: bytes) -> None:
    path = bundle / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _manifest(submission: Submission, bundle: Path) -> Manifest:
    report = submission.report
    return Manifest(
        schema="lip-bundle/1",
        name=submission.card.name,
        board=submission.board,
        dataset=report.dataset.name,
        n=report.dataset.n,
        images_sha256=submission.images_sha256,
        lip_plugin=str(report.environment["lip_plugin"]),
        files=file_records(bundle),
    )
