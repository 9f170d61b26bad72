"""Which images of a set: the first ones, every so many, or a sample that follows from its seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lip_plugin.data.labelled import LabelledImages
from lip_plugin.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Selection:
    """All images where nothing is said; their order is always that of the files.

    Every ``every``-th from the first on, and of these the first ``count``; or ``sample`` images drawn without
    repetition, which follow from ``seed`` and the number of images alone. Raises ConfigError.
    """

    count: int | None = None
    every: int | None = None
    sample: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sample is not None and (self.count is not None or self.every is not None):
            raise ConfigError("--sample excludes --n and --every; give one of them")
        if self.every is not None and self.every < 1:
            raise ConfigError(f"--every {self.every}: expected 1 or more")
        if self.seed < 0:
            raise ConfigError(f"seed must be an int >= 0, got {self.seed}")

    def of(self, images: LabelledImages) -> LabelledImages:
        """Raises DataError where there are fewer."""
        if self.sample is not None:
            if not 1 <= self.sample <= len(images):
                has = f"{images.source} has {len(images)}, give 1 to {len(images)}"
                raise DataError(f"asked for a sample of {self.sample} images; {has}")
            return images.part(drawn(self.sample, len(images), self.seed))
        if self.every is not None:
            images = images.part(np.arange(0, len(images), self.every))
        return images.first(self.count)


def drawn(count: int, total: int, seed: int) -> npt.NDArray[np.int64]:
    """``count`` of the numbers below ``total``, ascending: where PCG64, whose stream numpy keeps, is smallest."""
    values = np.random.PCG64(seed).random_raw(total)
    return np.sort(np.argsort(values, kind="stable")[:count])
