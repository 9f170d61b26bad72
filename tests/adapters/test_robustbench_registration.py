"""Which models enter RobustBench's dictionaries, and what its `load_model` then gives."""

from __future__ import annotations

import importlib
import re
import runpy
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lip_plugin as lp
from lip_adapters.robustbench_adapter.installation import FIX, REINSTALL
from lip_plugin.zoo import registry

from .fake_robustbench import write_robustbench
from .robustbench_toys import save, toy

ROOT = Path(__file__).parent.parent.parent
SMALL, DEMO = "LipPlugin2026_LiResNet_S", "LipPlugin2026_LiResNet_Demo"


@pytest.fixture(autouse=True)
def _clean_registry() -> Generator[None]:
    before = dict(registry._registered)  # pyright: ignore[reportPrivateUsage]
    yield
    registry._registered.clear()  # pyright: ignore[reportPrivateUsage]
    registry._registered.update(before)  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
def robustbench(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Generator[Any]:
    """A RobustBench that imports by itself, for one test."""
    monkeypatch.syspath_prepend(write_robustbench(tmp_path_factory.mktemp("site"), "fixed"))
    earlier = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "robustbench"}
    for name in earlier:
        del sys.modules[name]
    yield importlib.import_module("robustbench")
    for name in [name for name in sys.modules if name.split(".")[0] == "robustbench"]:
        del sys.modules[name]
    sys.modules.update(earlier)


def entries(robustbench: Any, dataset: str) -> dict[str, dict[str, Any]]:
    zoo = robustbench.model_zoo
    found: dict[str, dict[str, Any]] = zoo.model_dicts[zoo.enums.BenchmarkDataset(dataset)][zoo.enums.ThreatModel.L2]
    return found


def test_a_shipped_model_loads_by_name(robustbench: Any, tmp_path: Path) -> None:
    assert SMALL in lp.register_with_robustbench()
    loaded = robustbench.utils.load_model(SMALL, model_dir=tmp_path, dataset="cifar10", threat_model="L2")
    own = lp.load_model(SMALL)
    assert type(loaded) is lp.CertifiedClassifier
    assert loaded.digest == own.digest
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(x), own(x))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []  # nothing was fetched


def test_dictionaries_that_robustbench_lacks_are_created(robustbench: Any, tmp_path: Path) -> None:
    for dataset in ("cifar100", "imagenet"):
        lp.register_model(save(toy(dataset), tmp_path / f"Toy_{dataset}", dataset=dataset))
    names = lp.register_with_robustbench()
    assert {"Toy_cifar100", "Toy_imagenet", SMALL} <= set(names)
    assert "Toy_imagenet" not in entries(robustbench, "cifar100")
    assert entries(robustbench, "imagenet")["Toy_imagenet"]["preprocessing"] in robustbench.data.PREPROCESSINGS
    assert entries(robustbench, "imagenet")["Toy_imagenet"]["preprocessing"] == "Res256Crop224"
    assert all(entry["gdrive_id"] == [] for entry in entries(robustbench, "cifar100").values())
    loaded = robustbench.utils.load_model("Toy_cifar100", model_dir=tmp_path, dataset="cifar100", threat_model="L2")
    assert loaded.digest == lp.load_model("Toy_cifar100").digest


def test_twice_is_once_and_later_models_are_added(robustbench: Any, tmp_path: Path) -> None:
    first = lp.register_with_robustbench()
    before = dict(entries(robustbench, "cifar10"))
    assert lp.register_with_robustbench() == first
    assert entries(robustbench, "cifar10") == before
    lp.register_model(save(toy("cifar10"), tmp_path / "later", dataset="cifar10"))
    assert lp.register_with_robustbench() == sorted([*first, "later"])


def test_only_the_named_models_are_entered(robustbench: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        lp.register_model(save(toy("cifar10"), tmp_path / name, dataset="cifar10"))
    assert lp.register_with_robustbench("two") == ["two"]
    assert set(entries(robustbench, "cifar10")) == {"Theirs", "two"}
    assert lp.register_with_robustbench(("one", SMALL)) == sorted([SMALL, "one"])


def test_one_name_for_two_data_sets_is_two_entries(robustbench: Any, tmp_path: Path) -> None:
    digests: dict[str, str] = {}
    for dataset in ("cifar10", "cifar100"):
        model = toy(dataset)
        digests[dataset] = model.digest
        lp.register_model(save(model, tmp_path / dataset, dataset=dataset, name="both"))
    assert lp.register_with_robustbench(["both"]) == ["both"]
    for dataset, digest in digests.items():
        assert robustbench.utils.load_model("both", tmp_path, dataset, "L2").digest == digest


def test_a_model_of_robustbench_is_never_replaced(robustbench: Any, tmp_path: Path) -> None:
    theirs = entries(robustbench, "cifar10")["Theirs"]
    for name in ("Theirs", "ours"):
        lp.register_model(save(toy("cifar10"), tmp_path / name, dataset="cifar10"))
    with pytest.raises(lp.ConfigError, match=r"'Theirs' for cifar10 of its own.*another name"):
        lp.register_with_robustbench(["ours", "Theirs"])
    assert set(entries(robustbench, "cifar10")) == {"Theirs"}  # all or nothing
    with pytest.warns(UserWarning, match=r"'Theirs' for cifar10 of its own, which is kept") as caught:
        names = lp.register_with_robustbench()
    assert caught[0].filename == __file__
    assert "ours" in names and "Theirs" not in names
    assert entries(robustbench, "cifar10")["Theirs"] is theirs


@pytest.mark.parametrize("damage", ["weights removed", "weights changed"])
def test_without_its_weights_a_model_does_not_load(robustbench: Any, tmp_path: Path, damage: str) -> None:
    directory = save(toy("cifar10"), tmp_path / "toy", dataset="cifar10")
    weights = directory / "model.safetensors"
    lp.register_model(directory)
    lp.register_with_robustbench(["toy"])
    if damage == "weights removed":
        weights.unlink()
    else:
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    with pytest.raises(lp.CheckpointError if damage == "weights removed" else lp.ChecksumError):
        robustbench.utils.load_model("toy", model_dir=tmp_path, dataset="cifar10", threat_model="L2")


def test_what_cannot_run_there_is_left_out_and_refused_by_name(robustbench: Any, tmp_path: Path) -> None:
    flat = lp.wrap(nn.Flatten().eval(), nn.Linear(16, 10).eval(), input_shape=(1, 4, 4))
    lp.register_model(save(flat, tmp_path / "other_shape", dataset="cifar10"))
    lp.register_model(save(toy("cifar100"), tmp_path / "other_classes", dataset="cifar10"))
    lp.register_model(save(toy("cifar10", dtype=torch.float64), tmp_path / "double", dataset="cifar10"))
    lp.register_model(save(flat, tmp_path / "tiny", dataset="tiny_imagenet"))
    assert not {"other_shape", "other_classes", "double", "tiny", DEMO} & set(lp.register_with_robustbench())
    for name, reason in {
        "other_shape": r"\(3, 32, 32\) in 10 classes, the model takes \(1, 4, 4\)",
        "other_classes": "in 10 classes, the model takes .* in 100",
        "double": "float32, the model takes float64",
        "tiny": r"not tiny_imagenet; use lp.load_model\('tiny'\)",
        DEMO: "not fashion_mnist",
    }.items():
        with pytest.raises(lp.ConfigError, match=f"{name} cannot run inside RobustBench: .*{reason}"):
            lp.register_with_robustbench([name])
    with pytest.raises(lp.UnknownModelError, match=f"Did you mean '{SMALL}'"):
        lp.register_with_robustbench([SMALL.lower()])


def test_data_sets_unknown_there_load_here_with_the_same_call() -> None:
    assert lp.load_model(DEMO, dataset="fashion_mnist", threat_model="L2").input_shape == (1, 28, 28)
    with pytest.raises(lp.UnknownModelError, match="mnist"):
        lp.load_model(DEMO, dataset="mnist", threat_model="L2")


# --- what the documentation says ---------------------------------------------------------------------------------


def test_the_three_lines_and_the_commands_of_the_documentation(
    robustbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "robustbench.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "robustbench.md", "exec"), names)
    assert names["model"].digest == lp.load_model(SMALL).digest
    assert (tmp_path / "models" / "cifar10" / "L2").is_dir()
    assert re.findall(r"^pip .*", text, flags=re.MULTILINE) == [FIX, REINSTALL]


def test_the_example(
    robustbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head = nn.Linear(3 * 32 * 32, 10)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[0, 0], head.weight[1, 0] = 1.0, -1.0
        head.bias.copy_(torch.tensor([0.0, 1.0] + [-9.0] * 8))  # the boundary: a first pixel of 1/2
    linear = lp.wrap(nn.Flatten().eval(), head.eval(), input_shape=(3, 32, 32))
    lp.register_model(save(linear, tmp_path / "linear", dataset="cifar10", name=SMALL), replace=True)
    x = torch.full((6, 3, 32, 32), 0.5)
    x[:, 0, 0, 0] = torch.tensor([1.0, 0.95, 0.9, 0.6, 0.2, 0.0])
    y = torch.tensor([0, 7, 0, 0, 1, 1])
    cifar10 = robustbench.model_zoo.enums.BenchmarkDataset("cifar10")
    robustbench.data._clean_dataset_loaders[cifar10] = lambda n, *_: (x[:n], y[:n])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "in_robustbench.py"), run_name="__main__")
    # Five labels are right; two of those pixels are more than 108/255 from 1/2. The attack of this RobustBench is idle.
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "same predictions as lp.load_model: True",
        "clean 83.3%, survives AutoAttack 83.3%, proved 33.3%",
    ]
