"""Architectures are found by entry point; each has its own settings and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from torch import nn

from lip_plugin.errors import ConfigError, MissingDependencyError, UnsupportedLayerError
from lip_plugin.models import LiResNet, LiResNetPP, freeze
from lip_plugin.models.architecture import ARCHITECTURES, architecture_config
from lip_plugin.models.liresnet import LiResNetConfig
from lip_plugin.models.liresnet_pp import LiResNetPPConfig
from lip_plugin.train.config import load_config

OTHER_PACKAGE = """
from typing import Literal
from lip_plugin.models import ArchitectureConfig, LiResNet

class Tiny(ArchitectureConfig):
    architecture: Literal["tiny"] = "tiny"
    size: int = 2
    def build(self, *, input_shape, num_classes):
        return LiResNet(input_shape=input_shape, num_classes=num_classes, depth=1, width=self.size, dense_width=4)

class Unfinished(ArchitectureConfig):
    architecture: Literal["unfinished"] = "unfinished"

class Nameless(ArchitectureConfig):
    def build(self, *, input_shape, num_classes):
        return None

def function():
    return None
"""


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed and names its architectures, some of them wrongly."""
    (tmp_path / "others_architectures.py").write_text(OTHER_PACKAGE)
    metadata = tmp_path / "others-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    names = {"tiny": "Tiny", "big": "Tiny", "unfinished": "Unfinished", "nameless": "Nameless", "call": "function"}
    lines = [f"{name} = others_architectures:{target}" for name, target in names.items()]
    absent = "absent = others_absent:Model"
    (metadata / "entry_points.txt").write_text("\n".join(["[lip_plugin.architectures]", *lines, absent]))
    monkeypatch.syspath_prepend(tmp_path)


def test_ours_are_found_like_those_of_others() -> None:
    assert {"liresnet", "liresnet_pp"} <= set(ARCHITECTURES.names())
    plain = architecture_config({"architecture": "liresnet", "depth": 2, "width": 4, "dense_width": 6})
    assert plain == LiResNetConfig(depth=2, width=4, dense_width=6)
    assert isinstance(plain.build(input_shape=(1, 8, 8), num_classes=3), LiResNet)
    plus = architecture_config({"depth": 1, "width": 4, "dense_width": 6})
    assert plus == LiResNetPPConfig(depth=1, width=4, dense_width=6)
    assert isinstance(plus.build(input_shape=(1, 16, 16), num_classes=3), LiResNetPP)
    assert plain.description() == "liresnet L2 W4, plain neck"
    assert plus.description() == "liresnet_pp L1 W4, 2 dense of 6"


@pytest.mark.parametrize("key", ["dense_depth", "neck_patch"])
def test_settings_of_another_architecture_are_errors(key: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        architecture_config({"architecture": "liresnet", key: 8})
    with pytest.raises(ConfigError, match=rf"^unknown setting 'model\.{key}';.* known: .*, dense_width$"):
        load_config("cifar10_small_neurips", [f"model.{key}=8"])


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(
        ConfigError,
        match=r"no architecture 'liresnetpp'; known: bronet, comparison, lipnext, liresnet, .*mean 'liresnet_pp'",
    ):
        load_config("cifar10_small", ["model.architecture=liresnetpp"])


@pytest.mark.usefixtures("other_package")
def test_one_of_another_package_is_one_of_ours() -> None:
    config = load_config("cifar10_small", ["model={architecture: tiny, size: 4}"]).model
    assert config.description() == "tiny size=4" and config.name() == "tiny"
    assert config.model_dump() == {"architecture": "tiny", "size": 4}
    model = config.build(input_shape=(1, 8, 8), num_classes=3)
    assert isinstance(model, LiResNet) and model.backbone.width == 4
    with pytest.raises(ConfigError, match=r"unknown setting 'model\.depth'; known: architecture, size"):
        load_config("cifar10_small", ["model={architecture: tiny, depth: 4}"])


@pytest.mark.usefixtures("other_package")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("big", r"Tiny, whose field architecture .*declare it as architecture: Literal\['big'\]"),
        ("nameless", "Nameless, whose field architecture does not allow"),
        ("unfinished", "must name a subclass of ArchitectureConfig that defines build"),
        ("call", "must name a subclass of ArchitectureConfig"),
    ],
)
def test_an_entry_point_that_is_no_architecture_is_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_config("cifar10_small", [f"model={{architecture: {name}}}"])
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("other_package")
def test_a_package_that_is_gone_is_said_once_it_is_asked_for() -> None:
    assert "absent" in ARCHITECTURES.names()
    with pytest.raises(MissingDependencyError, match="others_absent"):
        load_config("cifar10_small", ["model={architecture: absent}"])


def test_a_head_that_is_no_linear_head_is_not_frozen() -> None:
    model = LiResNet(input_shape=(1, 8, 8), num_classes=3, depth=1, width=4, dense_width=6)
    model.head = nn.Linear(6, 3)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(UnsupportedLayerError, match="the head of LiResNet is Linear; give a LinearHead"):
        freeze(model)
