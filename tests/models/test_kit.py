"""Our architectures through the test kit."""

from __future__ import annotations

from lip_plugin.models import ArchitectureConfig
from lip_plugin.models.liresnet import LiResNetConfig
from lip_plugin.models.liresnet_pp import LiResNetPPConfig
from lip_plugin.testing import ArchitectureTests


class TestLiResNet(ArchitectureTests):
    def make(self) -> ArchitectureConfig:
        return LiResNetConfig(depth=2, width=4, dense_width=6)


class TestLiResNetPP(ArchitectureTests):
    def make(self) -> ArchitectureConfig:
        return LiResNetPPConfig(depth=2, width=4, dense_width=6, dense_depth=2, neck_patch=2)
