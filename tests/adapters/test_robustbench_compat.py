"""RobustBench as it is found: unable to import, complete, fixed, overwritten by another package, or not there."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lip_plugin as lp
from lip_adapters.robustbench_adapter.autoattack import AutoAttack
from lip_adapters.robustbench_adapter.installation import require_own_robustbench

from .fake_robustbench import SITUATIONS, write_robustbench
from .robustbench_toys import SHAPES, save, save_images, toy

SESSION = Path(__file__).with_name("robustbench_session.py")


def unusable() -> str:
    """Why the installed RobustBench cannot be tried; empty where it can."""
    try:
        require_own_robustbench()
    except lp.MissingDependencyError as error:
        return str(error)
    return ""


def run_session(folder: Path, *path: Path, in_vain: bool = False) -> dict[str, Any]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*map(str, path), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(SESSION), str(folder), *(["in-vain"] if in_vain else [])]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, float]]:
    """problems(linear_problem) -> (folder of models and images, share of CIFAR-10 images further away than eps)."""

    def write(linear_problem: Callable[..., Any]) -> tuple[Path, float]:
        folder = tmp_path_factory.mktemp("problems")
        model, x, y, distance = linear_problem(10, shape=(3, 32, 32), count=3, spread=600)
        eps = float(distance[1:].mean())  # one image is left for every stage of the attack
        save(model, folder / "models" / "Toy_cifar10", dataset="cifar10")
        save_images(folder, "cifar10", x, y, eps)
        for dataset in ("cifar100", "imagenet"):
            model = toy(dataset)
            x = torch.rand(2, *SHAPES[dataset][0], generator=torch.Generator().manual_seed(1))
            y = model(x).argmax(dim=1)
            y[1] += -1 if y[1] else 1  # one right, one wrong
            save(model, folder / "models" / f"Toy_{dataset}", dataset=dataset)
            save_images(folder, dataset, x, y, 8.0)
        return folder, float((distance > eps).float().mean())

    return write


def check_models(record: dict[str, Any], *, robust: float | None) -> None:
    """``robust``: the CIFAR-10 model's robust accuracy from its closed form; None where no attack runs."""
    for dataset, seen in record["models"].items():
        assert seen["same_network"], dataset
        assert seen["predictions"] == seen["own_predictions"], dataset
        assert seen["clean_accuracy"] == seen["benchmark"][0] == (1.0 if dataset == "cifar10" else 0.5), dataset
        assert seen["proved"] <= seen["benchmark"][1] <= seen["benchmark"][0], dataset
        if robust is None:
            assert seen["benchmark"][1] == seen["benchmark"][0], dataset
        else:
            assert seen["benchmark"][1] == (pytest.approx(robust) if dataset == "cifar10" else 0.0), dataset


# --- the package as it is imported -------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_session(
    situation: str, problems: Callable[..., Any], linear_problem: Callable[..., Any], tmp_path: Path
) -> None:
    folder, robust = problems(linear_problem)
    record = run_session(folder, write_robustbench(tmp_path, situation), in_vain=situation == "published")

    assert record["missing"] == ("pkg_resources" if situation == "published" else None)
    assert record["first_id"] == "n01440764/ILSVRC2012_val_00000293.JPEG"
    # Nothing stays behind, and what the user has is the user's.
    assert not record["finders_changed"]
    assert record["is_whole"]
    expected = {
        "published": ({}, "lip_adapters.robustbench_adapter.autoattack"),
        "complete": (
            {
                "pkg_resources": str(tmp_path / "pkg_resources.py"),
                "autoattack": str(tmp_path / "autoattack" / "__init__.py"),
                "autoattack.state": str(tmp_path / "autoattack" / "state.py"),
            },
            "autoattack",
        ),
        "fixed": ({}, "robustbench.attack"),
    }
    assert (record["provided_by"], record["attack"]) == expected[situation]
    assert record["names"][0] == record["names"][1]
    assert {"LipPlugin2026_LiResNet_S", "Toy_cifar10", "Toy_cifar100", "Toy_imagenet"} <= set(record["names"][0])
    assert "LipPlugin2026_LiResNet_Demo" not in record["names"][0]
    check_models(record, robust=robust if situation == "published" else None)


@pytest.mark.skipif(bool(unusable()), reason=f"no RobustBench to try: {unusable()}")
def test_a_session_with_the_installed_robustbench(
    problems: Callable[..., Any], linear_problem: Callable[..., Any]
) -> None:
    folder, robust = problems(linear_problem)
    record = run_session(folder)
    assert not record["finders_changed"]
    assert record["is_whole"]
    assert record["names"][0] == record["names"][1]
    assert "None" not in record["provided_by"].values()  # a stand-in has no file
    check_models(record, robust=robust)


def test_importing_the_plugin_imports_no_robustbench(tmp_path: Path) -> None:
    code = (
        "import sys, lip_plugin as lp; lp.register_with_robustbench; import lip_adapters.robustbench_adapter; "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'robustbench', 'timm', 'autoattack', "
        "'pyautoattack', 'pkg_resources'}), [type(finder).__name__ for finder in sys.meta_path])"
    )
    environment = {**os.environ, "PYTHONPATH": str(write_robustbench(tmp_path, "published"))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[] ")
    assert "_LastResort" not in done.stdout


# --- whose files they are ----------------------------------------------------------------------------------------

OWN = {"__init__.py": "from .eval import benchmark\n", "eval.py": "def benchmark(): ...\n", "enums.py": "same\n"}
COPY = {"__init__.py": "# from .eval import benchmark\n", "eval.py": "# def benchmark(): ...\n", "enums.py": "same\n"}


def install(site: Path, distribution: str, version: str, files: dict[str, str]) -> None:
    """Write the files of the package `robustbench` and the record of a distribution that has just installed them."""
    (site / "robustbench").mkdir(parents=True, exist_ok=True)
    information = site / f"{distribution}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    lines: list[str] = []
    for name, content in files.items():
        (site / "robustbench" / name).write_text(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).decode().rstrip("=")
        lines.append(f"robustbench/{name},sha256={digest},{len(content)}\n")
    (information / "RECORD").write_text("".join(lines))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty site-packages, the only one."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def refusal() -> str:
    with pytest.raises(lp.MissingDependencyError) as caught:
        require_own_robustbench()
    message = str(caught.value)
    assert re.search(r"install it with: pip install .*robustbench", message), message
    assert "\n" not in message
    return message


def test_nothing_is_installed(site: Path) -> None:
    assert "not installed" in refusal()
    (site / "robustbench").mkdir()  # what `pip uninstall torchattacks` leaves of both
    (site / "robustbench" / "data.py").touch()
    assert "__init__.py" in refusal()


def test_the_copy_of_torchattacks_alone_is_not_robustbench(site: Path) -> None:
    install(site, "torchattacks", "3.5.1", COPY)
    assert "not installed: the package of that name comes with torchattacks 3.5.1" in refusal()


def test_files_that_torchattacks_has_overwritten_are_found(site: Path) -> None:
    install(site, "robustbench", "1.1.1", OWN)
    require_own_robustbench()
    install(site, "torchattacks", "3.5.1", COPY)
    assert refusal().startswith("2 files of robustbench 1.1.1, such as robustbench/__init__.py, were overwritten")
    (site / "robustbench" / "__init__.py").write_text(OWN["__init__.py"])  # installers in parallel mix them
    assert refusal().startswith("1 files of robustbench 1.1.1, such as robustbench/eval.py, were overwritten")
    (site / "robustbench" / "eval.py").write_text(OWN["eval.py"])
    require_own_robustbench()


def test_robustbench_installed_last_or_changed_by_its_user_is_left_alone(site: Path) -> None:
    install(site, "torchattacks", "3.5.1", COPY)
    install(site, "robustbench", "1.1.1", OWN)
    require_own_robustbench()
    (site / "robustbench" / "eval.py").write_text("def benchmark(better): ...\n")
    require_own_robustbench()


def test_a_checkout_before_the_copy_of_torchattacks_is_left_alone(
    site: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "torchattacks", "3.5.1", COPY)
    checkout = tmp_path_factory.mktemp("checkout")
    (checkout / "robustbench").mkdir()
    (checkout / "robustbench" / "__init__.py").write_text(COPY["__init__.py"])
    refusal()
    monkeypatch.setattr(sys, "path", [str(checkout), str(site)])
    require_own_robustbench()


# --- pyautoattack under the older calls --------------------------------------------------------------------------


def test_the_attack_is_that_of_pyautoattack(
    linear_problem: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyautoattack

    model, x, y, distance = linear_problem(10)
    eps, log = 1.1 * float(distance.max()), tmp_path / "log.txt"
    before = (logging.getLogger("auto-attack").handlers[:], logging.getLogger("auto-attack").level, sys.gettrace())
    attack = AutoAttack(model, norm="L2", eps=eps, version="standard", device="cpu", seed=0, log_path=log)
    found = attack.run_standard_evaluation(x, y, bs=3, state_path=None)
    after = (logging.getLogger("auto-attack").handlers[:], logging.getLogger("auto-attack").level, sys.gettrace())
    assert after == before

    assert (model(found).argmax(dim=1) != y).all()
    assert ((found - x).flatten(1).norm(dim=1) >= distance * (1 - 1e-6)).all()
    direct = pyautoattack.AutoAttack(model, norm="L2", eps=eps, device="cpu", seed=0)
    assert torch.equal(found, direct.run_standard_evaluation(x, y, batch_size=3)[0])
    assert "robust accuracy after APGD-T: 0.00%" in log.read_text()
    assert "robust accuracy after APGD-T: 0.00%" in capsys.readouterr().out


def test_a_debugger_is_not_cut_off(linear_problem: Callable[..., Any]) -> None:
    model, x, y, distance = linear_problem(10, count=1)

    def trace(*_: Any) -> None:
        return None

    attack = AutoAttack(model, norm="L2", eps=2 * float(distance.max()), device="cpu")
    earlier = sys.gettrace()
    sys.settrace(trace)
    try:
        attack.run_standard_evaluation(x, y)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(earlier)


def test_a_state_file_is_refused_before_the_attack(linear_problem: Callable[..., Any], tmp_path: Path) -> None:
    model, x, y, _ = linear_problem(10)
    attack = AutoAttack(model, norm="L2", eps=0.1, device="cpu")
    with pytest.raises(lp.ConfigError, match=r"aa_state_path=.*leave it out"):
        attack.run_standard_evaluation(x, y, state_path=tmp_path / "state.json")
    assert not (tmp_path / "state.json").exists()
