"""A model's card as a person reads it: what it is, what was measured and proved, how it came about, how to redo it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from lip_plugin.data import find_dataset
from lip_plugin.leaderboard import is_proof
from lip_plugin.schema import Figures
from lip_plugin.types import ImageShape, format_eps
from lip_plugin.untrusted import printable
from lip_plugin.zoo import ModelCard

_WIDTH = 100
_COMMANDS = ("command", "certify", "attack", "load")  # never broken into lines: they are to be copied
_PROGRAMS = {
    "real": "the exact function of the stored weights in real numbers; --arithmetic forward asks for model(x) itself",
    "float64": "the network computed in float64, rounding included",
    "float32": "the network computed in float32, rounding included",
    "forward": "model(x) as it runs, rounding included",
}


def card_text(card: ModelCard, asked: str) -> str:
    """Sections under a headline each, every line of them indented; those with nothing to say are left out.

    ``asked``: the name, directory or reference that the card was found by, which the commands repeat.
    """
    sections = {
        "": _what_it_is(card),
        "measured": _figures(card, card.measured),
        "reported by its authors": _figures(card, card.reported),
        "what the proof says": _proof(card),
        "how it was trained": _rest(card.measured),
        "do it again": _commands(card, asked),
        "where it comes from": _provenance(card),
        "files": _files(card),
    }
    lines = [printable(card.name)]
    for headline, rows in sections.items():
        shown = [f"  {line}" for name, text in rows for line in _row(name, text)]
        lines += (["", headline] if headline and shown else []) + shown
    return "\n".join(lines)


def sides(shape: ImageShape) -> str:
    """``3 x 32 x 32``"""
    return " x ".join(map(str, shape))


Rows = Iterator[tuple[str, str]]


def _row(name: str, text: str) -> list[str]:
    """A line break in the text is shown indented, so that it cannot pass for another entry."""
    lines = text.split("\n")
    if name not in _COMMANDS:
        lines = [part for line in lines for part in wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)]
    return [f"{printable(name) if at == 0 else '':16}  {line}".rstrip() for at, line in enumerate(lines)]


def _what_it_is(card: ModelCard) -> Rows:
    record = None if card.dataset is None else find_dataset(card.dataset)
    title = card.dataset or "own images"
    yield (
        "images",
        f"{title if record is None else record.title}: {sides(card.input_shape)}, {card.num_classes} classes",
    )
    if card.class_names:
        yield "classes", ", ".join(card.class_names)
    yield "network", f"{card.params:,} parameters, {len(card.network)} layers, {card.dtype}"
    if card.architecture:
        yield "architecture", card.architecture
    if card.foreign_operators:
        yield "needs", f"operators of other packages: {', '.join(card.foreign_operators)}"
    if card.eps_train is not None:
        yield "trained for", f"L2 radius {format_eps(card.eps_train)}, pixels in [0,1]"
    if card.use:
        yield "for whom", card.use


def _figures(card: ModelCard, figures: Figures) -> Rows:
    if figures.clean_accuracy is not None:
        yield "right", f"{figures.clean_accuracy} %{_of_images(card, figures)}"
    kind = "proved" if is_proof(figures) else f"certified, {figures.certificate or 'not stated how'}"
    for eps, share in (figures.verified_robust_accuracy or {}).items():
        yield f"at {eps}", f"{share} % right and {kind} (VRA)"
    yield from _under_attack(card, figures)
    if figures.attacked is not None:
        yield from _under_attack(card, figures.attacked)
    if figures.source:
        yield "source", figures.source
    if figures is card.reported:
        yield from _rest(figures)


def _under_attack(card: ModelCard, figures: Figures) -> Rows:
    of = _of_images(card, figures)
    for eps, survived in (figures.empirical_robust_accuracy or {}).items():
        attacks = ", ".join(f"{share} % right after {attack}" for attack, share in survived.items())
        proved = (figures.verified_robust_accuracy or {}).get(eps)
        yield f"attacked {eps}", f"{attacks}{'' if proved is None else f'; {proved} % proved'}{of}"
    if figures.audited is not None:
        closest = figures.smallest_distance_over_radius
        call = "" if closest is None else f"; the closest point found lies at {closest} radii of its image"
        yield "audit", f"{figures.audited} certificates were attacked too, none broke{call}"


def _of_images(card: ModelCard, figures: Figures) -> str:
    if not figures.images:
        return ""
    record = None if card.dataset is None else find_dataset(card.dataset)
    test = None if record is None else record.test
    whole = test is not None and test.images == figures.images
    return f" of {'all ' if whole else ''}{figures.images:,} test images"


def _proof(card: ModelCard) -> Rows:
    measured = card.measured
    if not is_proof(measured):
        yield "assumed", "no figure of this card was proved by lip-plugin; lip certify proves what can be proved"
        return
    yield "proved", "for each image, that no change of its pixels of L2 norm below its radius changes the label"
    yield "of", _PROGRAMS[measured.arithmetic or "real"]
    yield "not", "changes in other norms, rotations, other kinds of images, nor that the label is right"
    if measured.lipschitz_upper_bound is not None:
        yield "Lipschitz bound", f"{measured.lipschitz_upper_bound:.6g} ({measured.bound})"
    used = measured.median_gradient_over_pair_bound
    if used is not None:
        yield "tightness", f"the median gradient is {used} of the pair bound that divides the margin (1: no slack)"
    yield "believed", "nothing: the bound is proved again from the weights whenever the model is used"


def _rest(figures: Figures) -> Rows:
    """Whatever else stands beside the figures: epochs, seed, hardware, command."""
    for name, value in (figures.model_extra or {}).items():
        yield name.replace("_", " "), _flat(value)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {entry}" for key, entry in value.items())  # pyright: ignore[reportUnknownVariableType]
    return str(value)


def _commands(card: ModelCard, asked: str) -> Rows:
    data = "" if card.dataset is None else " --data-dir DIR"
    seconds, images, device = card.measured.certify_seconds, card.measured.images, card.measured.certified_on
    on = "" if device is None else f" on {device}"
    took = "" if seconds is None or not images else f"   # took {seconds:g} s for {images:,} images{on}"
    name = shlex.quote(printable(asked))
    yield "certify", f"lip certify {name}{data} --out out/certify{took}"
    yield "attack", f"lip compare {name}{data} --n 512 --attacks autoattack --out out/compare"
    yield "load", f"lp.load_model({printable(asked)!r})"


def _provenance(card: ModelCard) -> Rows:
    said = {
        "based on": card.based_on,
        "paper": card.paper,
        "authors": card.authors,
        "venue": card.venue,
        "link": card.link,
        "bibtex": card.bibtex,
        "licence": card.licence,
        "additional data": {None: None, True: "yes", False: "no"}[card.additional_data],
    }
    for name, text in said.items():
        if text:
            yield name, text


def _files(card: ModelCard) -> Rows:
    yield "layers", " -> ".join(layer.kind for layer in card.network)
    yield "weights", f"sha256 {card.sha256}"
    yield "digest", card.digest
