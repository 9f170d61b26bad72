"""The exact distance to the decision boundary of a small piecewise linear network, by all of its linear pieces.

For every piece (a polyhedron, on which the logits are affine) and every other class, the nearest point at which
that class ties or leads is a small quadratic programme with rational data. It is solved exactly by its conditions of
optimality, so the result is a rational number and the point where it is attained.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import lip_plugin as lp

from .exact import ZERO, Form, evaluate, exact_logits, square_distance

Point = tuple[Fraction, ...]


@dataclass(frozen=True)
class Nearest:
    """``square`` = ||point - image||_2^2, exactly."""

    square: Fraction
    point: Point


def nearest_boundary(
    model: lp.CertifiedClassifier, image: Sequence[Fraction], *, reach: Fraction = Fraction(1)
) -> Nearest | None:
    """The nearest point (C*H*W,) where another class than the image's ties or leads; None where all are beyond reach.

    Depth first over the answers to what the layers ask; a piece is left as soon as it is empty or further away than
    ``reach`` or what has been found.
    """
    centre = tuple(image)
    logits = exact_logits(model, centre)
    label = max(range(len(logits)), key=logits.__getitem__)
    best: Nearest | None = None
    limit = reach**2
    waiting: list[tuple[bool, ...]] = [()]
    while waiting:
        answers = waiting.pop()
        piece = _follow(model, len(centre), answers)
        reached = project(centre, piece.inside)
        if reached is None or reached.square >= limit:
            continue
        if piece.question is not None:
            here = piece.question.at(centre) > 0
            waiting += [(*answers, not here), (*answers, here)]  # the image's own side is looked at first
            continue
        for index, form in enumerate(piece.logits):
            found = None if index == label else project(centre, [*piece.inside, form - piece.logits[label]])
            if found is not None and found.square < limit:
                best, limit = found, found.square
    return best


@dataclass(frozen=True)
class _Piece:
    """Where all forms ``inside`` are >= 0; the logits there, or the first question that is still open."""

    inside: list[Form]
    logits: list[Form]
    question: Form | None


class _OpenQuestion(Exception):
    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form


def _follow(model: lp.CertifiedClassifier, dimension: int, answers: tuple[bool, ...]) -> _Piece:
    inside: list[Form] = []

    def decide(form: Form) -> bool:
        if not any(form.slope):
            return form.offset > 0
        if len(inside) == len(answers):
            raise _OpenQuestion(form)
        answer = answers[len(inside)]
        inside.append(form if answer else form.times(Fraction(-1)))
        return answer

    axes = [Form(tuple(Fraction(k == axis) for k in range(dimension)), ZERO) for axis in range(dimension)]
    try:
        return _Piece(inside, evaluate(model, axes, decide), None)
    except _OpenQuestion as question:
        return _Piece(inside, [], question.form)


def project(centre: Point, inside: Sequence[Form]) -> Nearest | None:
    """The point nearest to the centre where every form is >= 0; None where there is none.

    x = centre + sum of m_i a_i over at most ``dimension`` linearly independent active forms, all m_i >= 0: a feasible
    x like that is the minimiser (Karush, Kuhn and Tucker), and the minimiser is like that (Caratheodory).
    """
    values = [form.at(centre) for form in inside]
    if min(values, default=ZERO) >= 0:
        return Nearest(ZERO, centre)
    for size in range(1, len(centre) + 1):
        for active in itertools.combinations(range(len(inside)), size):
            slopes = [inside[index].slope for index in active]
            multipliers = solve([[_dot(a, b) for b in slopes] for a in slopes], [-values[index] for index in active])
            if multipliers is None or min(multipliers) < 0:
                continue
            steps = [_dot(multipliers, [slope[k] for slope in slopes]) for k in range(len(centre))]
            point = tuple(x + step for x, step in zip(centre, steps, strict=True))
            if all(form.at(point) >= 0 for form in inside):
                return Nearest(square_distance(point, centre), point)
    return None


def solve(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction] | None:
    """Gauss and Jordan; None where the matrix is singular."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for column in range(len(rows)):
        pivot = next((index for index in range(column, len(rows)) if rows[index][column]), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for index, row in enumerate(rows):
            if index != column and row[column]:
                rows[index] = [value - row[column] * lead for value, lead in zip(row, rows[column], strict=True)]
    return [row[-1] for row in rows]


def _dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    return sum((p * q for p, q in zip(a, b, strict=True)), ZERO)
