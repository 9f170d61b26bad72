"""What is run for a board, what it refuses before and after, and the submission that comes out."""

from __future__ import annotations

import dataclasses
import decimal
from collections.abc import Sequence
from pathlib import Path

from lip_plugin.certificates import LipschitzBound
from lip_plugin.data import LabelledImages
from lip_plugin.errors import ConfigError, RefusedError, SoundnessError
from lip_plugin.evaluate import Report
from lip_plugin.evaluate.restated import restated
from lip_plugin.network import CertifiedClassifier
from lip_plugin.network.record import dump_weights, technical_record
from lip_plugin.report.document import points_table, report_values
from lip_plugin.schema.kinds import MOST_EPS
from lip_plugin.submission.boards import Board, Refusal, foreign_refusals
from lip_plugin.submission.images_digest import images_sha256
from lip_plugin.submission.layout import ADVERSARIAL_IMAGES, state_dict_file
from lip_plugin.submission.perturbations import Perturbations, stored_perturbations
from lip_plugin.submission.robustbench import other_labels
from lip_plugin.submission.submission import Submission
from lip_plugin.types import parse_eps_grid
from lip_plugin.untrusted import is_plain_name, printable
from lip_plugin.zoo import ModelCard

COMMON_EPS = ("36/255", "72/255", "108/255", "0.5")
"""Both conventions: the literature on Lipschitz networks, and RobustBench."""

_LONGEST_FILE_NAME = 255  # bytes, of the usual file systems


def submission_eps(board: Board, card: ModelCard, chosen: Sequence[float] | None) -> tuple[float, ...]:
    """The grid: what was ``chosen``, else the card's radii and those that are usual; the board's own in any case.

    Raises ConfigError where the board prescribes what is evaluated and something was chosen, and for too many radii.
    """
    if chosen is not None and board.attacks is not None:
        raise ConfigError(f"board {board.name} prescribes the radii; leave out --eps, or choose --board own")
    grid = parse_eps_grid([*((*card.eps_grid, *COMMON_EPS) if chosen is None else chosen), *board.radii])
    if len(grid) > MOST_EPS:
        source = "the card's, the usual and the board's" if chosen is None else "those of --eps and the board's"
        raise ConfigError(f"{len(grid)} radii in all, {source}; a bundle holds at most {MOST_EPS}")
    return grid


def require_free_attacks(board: Board, attacks: Sequence[str]) -> None:
    """Raise ConfigError where the board prescribes other attacks."""
    if board.attacks is not None and tuple(attacks) != board.attacks:
        expected = ",".join(board.attacks)
        raise ConfigError(
            f"board {board.name} prescribes --attacks {expected}, got {printable(','.join(attacks), longest=200)}; "
            "leave it out, or choose --board own"
        )


def require_accepted_before(board: Board, card: ModelCard, model: CertifiedClassifier, images: LabelledImages) -> None:
    """Before any work: raises RefusedError naming every rule that is known to be broken; ConfigError for a name."""
    _require_model_name(card.name)
    _require_images_name(images.name)
    _raise_for(board, (*foreign_refusals(model), *board.refusals_before(card, model, images)))


def _require_model_name(name: str) -> None:
    """It is in the names of files of a bundle; ``.json`` is the longest ending."""
    shown = printable(name, longest=80)
    if not _is_file_name(f"{name}.json"):
        raise ConfigError(f"'{shown}' cannot name files of a bundle; give the model a shorter name")
    if state_dict_file(name).casefold() == ADVERSARIAL_IMAGES:  # the same file for file systems that ignore case
        raise ConfigError(f"'{shown}' names a file of every bundle, {ADVERSARIAL_IMAGES}; give the model another name")


def _require_images_name(name: str) -> None:
    """It is a folder of a bundle, and on RobustBench's page as it is."""
    shown = printable(name, longest=80)
    if not _is_file_name(name):
        raise ConfigError(f"'{shown}' cannot name images in a bundle; give the file a short, printable name")
    if {"<", ">"} & set(name):
        raise ConfigError(f"'{shown}' cannot name images in a bundle; give the file a name without < and >")


def _is_file_name(name: str) -> bool:
    return is_plain_name(name) and len(name.encode("utf-8")) <= _LONGEST_FILE_NAME


def require_accepted_after(board: Board, submission: Submission) -> None:
    """Before anything is written: raises RefusedError naming every broken rule."""
    _raise_for(board, (*foreign_refusals(submission.model), *board.refusals_after(submission)))


def _raise_for(board: Board, refusals: Sequence[Refusal]) -> None:
    if refusals:
        raise RefusedError(f"board {board.name} would refuse this: {'; '.join(map(str, refusals))}")


def stored_card(card: ModelCard, model: CertifiedClassifier) -> ModelCard:
    """The card of the model as a bundle stores it: what follows from the network is taken from the network."""
    described = card.model_dump(mode="json", by_alias=True)
    return ModelCard.model_validate({**described, **technical_record(model, dump_weights(model))})


def make_submission(
    board: Board, card: ModelCard, model: CertifiedClassifier, images: LabelledImages, report: Report, path: Path
) -> tuple[Submission, Perturbations]:
    """From a report that keeps every adversarial point; they go into the file ``path``.

    Distances become those of the points as stored there.
    Raises SoundnessError, carrying the report, where a point lies inside its own image's radius; RefusedError where
    rounding takes an adversarial point away, or the plain form of the network gives other labels; DataError where the
    images cannot be read any more, OSError where the file cannot be written.
    """
    perturbations, distance, program = stored_perturbations(model, report, path)
    attacked = report.audit.attacked_certified
    stored = restated(report, distance, report.points.attack, program, attacked_certified=attacked)
    if stored.status == "failed":
        raise SoundnessError(stored.problems[0], stored)
    _require_same_in_plain_torch(card, model, images, stored)
    stored = dataclasses.replace(stored, lipschitz=stated(stored.lipschitz))
    made = Submission(board.name, card, model, report_values(stored), points_table(stored), images_sha256(images))
    return made, perturbations


def stated(bound: LipschitzBound) -> LipschitzBound:
    """Every constant rounded up to 12 digits, and so still proved.

    Another machine proves one that differs in the last of 17 digits, and what a bundle claims must not lie below it.
    """
    layers = tuple(dataclasses.replace(layer, value=_stated(layer.value)) for layer in bound.layers)
    return dataclasses.replace(bound, value=_stated(bound.value), layers=layers)


def _stated(value: float) -> float:
    return float(decimal.Context(prec=12, rounding=decimal.ROUND_CEILING).create_decimal(value))


def _require_same_in_plain_torch(
    card: ModelCard, model: CertifiedClassifier, images: LabelledImages, report: Report
) -> None:
    prediction = report.points.certificate.prediction
    others = other_labels(model, card.name, images, prediction)
    if others:
        raise RefusedError(
            f"the network in plain torch, which foreign boards run, labels {len(others)} of {len(prediction)} images "
            f"otherwise than their certificates, image {others[0]} first"
        )
