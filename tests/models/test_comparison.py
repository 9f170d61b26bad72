"""The comparison architecture with each of its layers through the test kit, and what each layer's paper promises."""

from __future__ import annotations

import pytest

from lip_plugin.models import ArchitectureConfig
from lip_plugin.models.comparison import ComparisonConfig
from lip_plugin.models.layers.blocks import BLOCKS
from lip_plugin.testing import ArchitectureTests


@pytest.mark.parametrize("block", BLOCKS)
class TestComparison(ArchitectureTests):
    """One class for all: `block` is put in by the fixture."""

    @pytest.fixture(autouse=True)
    def _choose(self, block: str) -> None:
        self._block = block

    def make(self) -> ArchitectureConfig:
        sizes = {"depth": 1, "width": 4, "stages": 2, "patch": 2, "dense_width": 6, "dense_depth": 1}
        return ComparisonConfig.model_validate({"block": self._block, **sizes})
