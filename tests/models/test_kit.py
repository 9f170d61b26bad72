"""Our architectures through the test kit."""

from __future__ import annotations

from lip_plugin.models import ArchitectureConfig
from lip_plugin.models.lipnext import LipNeXtConfig
from lip_plugin.models.liresnet import LiResNetConfig
from lip_plugin.models.liresnet_pp import LiResNetPPConfig
from lip_plugin.testing import ArchitectureTests


class TestLiResNet(ArchitectureTests):
    def make(self) -> ArchitectureConfig:
        return LiResNetConfig(depth=2, width=4, dense_width=6)


class TestLiResNetPP(ArchitectureTests):
    def make(self) -> ArchitectureConfig:
        return LiResNetPPConfig(depth=2, width=4, dense_width=6, dense_depth=2, neck_patch=2)


class TestLipNeXt(ArchitectureTests):
    def make(self) -> ArchitectureConfig:
        return LipNeXtConfig(depth=2, width=10, patch=2, shift=0.2)


class TestLipNeXtOfColourImages(ArchitectureTests):
    input_shape = (3, 4, 8)

    def make(self) -> ArchitectureConfig:
        return LipNeXtConfig(depth=1, width=12, patch=2, beta=0.3, matrix_rate=0.5)
