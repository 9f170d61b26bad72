"""examples/plugin_package, installed beside the library: what its README says to type, and the test kit on it."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
import shlex
import shutil
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_plugin.evaluate.attacks import get_attack
from lip_plugin.models.architecture import ArchitectureConfig, architecture_config
from lip_plugin.network.operators import OPERATOR_KINDS
from lip_plugin.plugins import PluginGroup
from lip_plugin.testing import ArchitectureTests, AttackTests

from .test_pages import entry_points

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "examples" / "plugin_package"
GROUPS = entry_points((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
MODEL, OPERATOR = "Example2026_Stripes", "example_group_sort (lip_example.group_sort.GroupSort)"

Install = Callable[[str, Mapping[str, Mapping[str, str]], str], Path]
Lip = Callable[..., Any]


@pytest.fixture
def example(installed: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """As an installer leaves it: the package's folder on the path, and the entry points of its pyproject.toml."""
    site = installed("lip_example_metadata", GROUPS, "")
    shutil.copytree(PACKAGE / "lip_example", site / "lip_example", ignore=shutil.ignore_patterns("__pycache__"))
    importlib.invalidate_caches()
    monkeypatch.chdir(tmp_path)
    yield site
    for name in GROUPS["lip_plugin.operators"]:
        OPERATOR_KINDS.pop(name, None)


def typed(*beginning: str) -> list[str]:
    """The first command of the README that begins with these words, without its `lip`."""
    blocks = re.findall(r"^```shell\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    found = next(words for words in lines if words[: 1 + len(beginning)] == ["lip", *beginning])
    return [word.replace("examples/plugin_package", str(PACKAGE)) for word in found[1:]]


@pytest.mark.usefixtures("example")
def test_all_five_are_found(lip: Lip) -> None:
    assert len(GROUPS) == 5
    for group, members in GROUPS.items():
        found = PluginGroup(group, "member")
        assert set(members) <= set(found.names())
        assert all(found.load(name) is not None for name in members)
    models = {row["name"]: row for row in json.loads(lip("list", "--json").out)}
    sets = {row["name"]: row for row in json.loads(lip("list", "--datasets", "--json").out)}
    assert models[MODEL]["dataset"] == "example_stripes" and sets["example_stripes"]["standard_eps"] == 0.5
    assert MODEL in lip("list").out and "example_stripes" in lip("list", "--datasets").out


def test_nothing_of_ours_knows_of_it() -> None:
    words = {"lip_example", *(name for group in GROUPS.values() for name in group if name != "example")}
    ours = [path for room in ("lip_plugin", "adapters") for path in (ROOT / room).rglob("*.py")]
    assert len(ours) > 100
    assert [path for path in ours if any(word in path.read_text(encoding="utf-8") for word in words)] == []


@pytest.mark.usefixtures("example")
def test_its_model_is_certified_and_attacked_on_its_images(lip: Lip) -> None:
    model, card = lp.load_model(MODEL), lp.model_card(MODEL)
    assert model.foreign_operators == (OPERATOR,) and OPERATOR in lip(*typed("info", MODEL)).out
    report = json.loads(lip(*typed("certify", MODEL), "--json", "--quiet").out)
    assert OPERATOR in report["lipschitz"]["method"] and report["dataset"]["n"] == 400
    pixels, labels = importlib.import_module("lip_example.stripes").read(Path(), "test")
    x, y = torch.from_numpy(pixels).float() / 255, torch.from_numpy(labels)
    assert math.isclose(report["clean_accuracy"], float((model(x).argmax(1) == y).double().mean()))
    certificate = lp.certify(model, x)
    for eps, proved in zip(card.eps_grid, report["eps"], strict=True):
        held = (certificate.prediction == y) & (certificate.radius >= eps)
        assert math.isclose(proved["verified_robust_accuracy"], float(held.double().mean()))
    printed = lip(*typed("compare", MODEL), "--json", "--quiet")
    assert printed.code == 0, printed.err
    compared = json.loads(printed.out)
    assert compared["attacks"] == ["example:steps?steps=20"] and compared["status"] == "ok"
    assert compared["dataset"]["n"] == 64


def test_the_model_is_small_and_bounded_by_one(example: Path) -> None:
    folder = example / "lip_example" / "models" / MODEL
    assert (folder / "model.safetensors").stat().st_size <= 100_000
    model = lp.load_model(folder)
    norms = [
        float(torch.linalg.matrix_norm(operator.tensors()["weight"].double().flatten(1), 2))
        for operator in model.operators
        if "weight" in operator.tensors()
    ]
    assert len(norms) == 4 and math.prod(norms) == pytest.approx(1.0, abs=1e-5)
    bound = lp.lipschitz_upper_bound(model).value
    assert math.prod(norms) <= bound <= 1.0 + 1e-4


@pytest.mark.usefixtures("example")
def test_its_architecture_is_trained_on_its_images(lip: Lip) -> None:
    """Two steps of the recipe."""
    done = lip(*typed("train"), "batch_size=500", "eps_grid=[0.25]", "--quiet")
    assert done.code == 0, done.err
    card = lp.model_card("runs/stripes")
    assert card.architecture == "example_orthogonal patch=4 width=32 depth=3" and card.dataset == "example_stripes"
    assert lp.lipschitz_upper_bound(lp.load_model("runs/stripes")).value == pytest.approx(1.0, abs=1e-4)


@pytest.mark.usefixtures("example")
def test_the_suite_of_its_readme_passes() -> None:
    (source,) = re.findall(r"^```python\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(source, "README.md", "exec"), names)
    tests = inspect.getmembers(names["TestGroupSort"](), inspect.ismethod)
    ran = [test() for name, test in tests if name.startswith("test_")]
    assert len(ran) > 10


@pytest.mark.usefixtures("example")
class TestItsArchitecture(ArchitectureTests):
    num_classes = 4

    def make(self) -> ArchitectureConfig:
        return architecture_config({"architecture": "example_orthogonal", "patch": 2, "width": 8, "depth": 2})


@pytest.mark.usefixtures("example")
class TestItsAttack(AttackTests):
    strength, reach = 1.0, 1.05

    def make(self) -> lp.EmpiricalAttack:
        return get_attack("example:steps?steps=20")
