"""The comparison architecture with each of its layers through the test kit, and what each layer's paper promises."""

from __future__ import annotations

import pytest

from lip_plugin.models import ArchitectureConfig
from lip_plugin.models.comparison import ComparisonConfig
from lip_plugin.models.layers.blocks import BLOCKS
from lip_plugin.testing import ArchitectureTests

CHOICES: dict[str, dict[str, str]] = {
    **{block: {"block": block} for block in BLOCKS},
    "aoc throughout": {"block": "aoc", "downsampling": "aoc", "matrix": "exponential"},
}


@pytest.mark.parametrize("choice", CHOICES)
class TestComparison(ArchitectureTests):
    """One class for all: what is chosen is put in by the fixture."""

    @pytest.fixture(autouse=True)
    def _choose(self, choice: str) -> None:
        self._words = CHOICES[choice]

    def make(self) -> ArchitectureConfig:
        sizes = {"depth": 1, "width": 4, "stages": 2, "patch": 2, "dense_width": 6, "dense_depth": 1}
        return ComparisonConfig.model_validate({**self._words, **sizes})
