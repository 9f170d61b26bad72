"""How accuracies of one network on the same images must lie, in whatever unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def excesses(clean: float | None, proved: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """(radius, most that can be proved there) of every (radius, accuracy) that exceeds it.

    What is proved at a radius is right, and proved at every smaller one. None: nobody says what is right.
    """
    highest = clean
    for eps, accuracy in sorted(proved):
        if highest is not None and accuracy > highest:
            yield eps, highest
        highest = accuracy if highest is None else min(highest, accuracy)
