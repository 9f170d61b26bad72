"""What RobustBench evaluates on, and what it asks of a model there.

Source: RobustBench 1.1.1, `data.py`, `model_zoo` and `tests/test_clean_acc.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lip_plugin.types import ImageShape

EPS = 0.5
"""The radius of its L2 leaderboard."""

ATTACK = "autoattack"
"""Its attack: the standard version, without settings."""

FAST_TEST_IMAGES = 200
"""Its fast test measures clean accuracy on so many images, the first ones."""


@dataclass(frozen=True)
class WholeSplit:
    """A whole test split in file order.

    ``first_labels`` tell the official order from another one; they are empty where none are on record.
    ``clean_accuracy``: percent that the fast test wants exceeded. ``leaderboard``: whether there is one for L2.
    """

    name: str
    title: str
    image_shape: ImageShape
    num_classes: int
    images: int
    clean_accuracy: float
    leaderboard: bool
    first_labels: tuple[int, ...] = ()


TEST_SETS = {
    one.name: one
    for one in (
        WholeSplit("cifar10", "CIFAR-10", (3, 32, 32), 10, 10_000, 70.0, True, (3, 8, 8, 0, 6, 6, 1, 6, 3, 1)),
        WholeSplit("cifar100", "CIFAR-100", (3, 32, 32), 100, 10_000, 45.0, False),
    )
}
"""Those that can be evaluated as RobustBench does. Of ImageNet it takes 5,000 images of its own choice."""


def test_set_of(name: str, image_shape: ImageShape, num_classes: int) -> WholeSplit | None:
    """The data set of RobustBench that these images are; None where it has none such."""
    known = TEST_SETS.get(name)
    fits = known is not None and (known.image_shape, known.num_classes) == (image_shape, num_classes)
    return known if fits else None
