"""Our architectures through the test kit."""

from __future__ import annotations

from lip_plugin.models import ArchitectureConfig
from lip_plugin.models.bronet import BRONetConfig
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


class TestLiResNetPPBehindPatches(ArchitectureTests):
    """A stem that keeps norms, of a map that its patches do not tile."""

    input_shape = (1, 9, 9)

    def make(self) -> ArchitectureConfig:
        return LiResNetPPConfig(depth=2, width=6, dense_width=6, dense_depth=1, neck_patch=2, stem="patches")


class TestLipNeXt(ArchitectureTests):
    def make(self) -> ArchitectureConfig:
        return LipNeXtConfig(depth=2, width=10, patch=2, shift=0.2)


class TestLipNeXtOfColourImages(ArchitectureTests):
    input_shape = (3, 4, 8)

    def make(self) -> ArchitectureConfig:
        return LipNeXtConfig(depth=1, width=12, patch=2, beta=0.3, matrix_rate=0.5)


class TestBRONet(ArchitectureTests):
    def make(self) -> ArchitectureConfig:
        return BRONetConfig(depth=2, width=4, neck_patch=2, dense_width=6, dense_depth=1)


class TestBRONetOfReflectors(ArchitectureTests):
    """Block reflectors wherever there can be some; patches do not tile the map."""

    looseness = 1.05  # the neck keeps some rows of a reflector, whose norm can be below the 1 that is counted

    def make(self) -> ArchitectureConfig:
        sizes = {"depth": 2, "width": 4, "rank_ratio": 0.25, "neck_patch": 3, "dense_width": 6, "dense_depth": 2}
        return BRONetConfig.model_validate({**sizes, "neck": "bro", "neck_linear": "bro", "dense": "bro"})


class TestHybridBRONet(ArchitectureTests):
    """Residual convolutions first, maps that grow, pooled by norms."""

    def make(self) -> ArchitectureConfig:
        return BRONetConfig(plain_depth=1, depth=2, width=4, grows=True, neck="l2", dense_width=6, dense_depth=1)
