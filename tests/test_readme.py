"""The README is true: its code runs, its commands exist, and its table is what the shipped model gives."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.data import load_shipped
from lip_plugin.types import parse_eps

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for line in README.splitlines() if line.startswith(".venv/bin/lip ")]


def test_there_is_something_to_check() -> None:
    assert len(PYTHON) == 2
    assert len(COMMANDS) == 7


@pytest.mark.parametrize("code", PYTHON)
def test_python_blocks_run(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "README.md", "exec"), {})
    assert "tensor(" in capsys.readouterr().out


def test_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS[:-1]:
        assert run(shlex.split(command)[1:]) == 0, command
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["board", "bundle", "first"]


def test_the_training_command_asks_for_its_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [word.replace("DIR", str(tmp_path / "none")) for word in shlex.split(COMMANDS[-1])[1:]]
    assert run([*words, "--out", str(tmp_path / "run")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make (\w+)", README, flags=re.MULTILINE)
    assert targets == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_the_table_is_what_the_shipped_model_gives() -> None:
    """Clean accuracy, proved share and counts of wrong and certified are re-measured; nothing else is deterministic."""
    table = README.split("<!-- demo -->")[1].split("<!-- /demo -->")[0]
    (count,) = re.findall(r"on (\d+) of 10,000 images", table)
    assert int(count) == len(load_shipped("fashion_mnist"))
    x, y = load_shipped("fashion_mnist").tensors(torch.float32)
    certificate = lp.certify(lp.load_model("LipPlugin2026_LiResNet_Demo"), x)
    clean = float((certificate.prediction == y).double().mean())
    assert f"clean accuracy {100 * clean:.1f} %" in table
    rows = re.findall(r"^ *([\d./]+) +([\d.]+) % .*?(\d+) +(\d+) +(\d+) +(\d+) *$", table, flags=re.MULTILINE)
    assert len(rows) == 3
    for eps, proved, certified, undecided, broken, wrong in rows:
        vra = lp.verified_robust_accuracy(certificate, y, parse_eps(eps))
        assert f"{100 * vra:.1f}" == proved
        assert int(certified) == round(vra * len(y))
        assert int(wrong) == len(y) - round(clean * len(y))
        assert sum(map(int, (certified, undecided, broken, wrong))) == len(y)


def test_the_models_are_those_that_are_shipped_with_their_figures() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| ([\d.]+) M \| ([\d.]+) \| (.*) \|$", README, flags=re.MULTILINE)
    assert [row[0] for row in rows] == lp.list_models("LipPlugin2026_*")  # others are of other tests
    for name, millions, clean, proved in rows:
        card = lp.model_card(name)
        assert f"{card.params / 1e6:.1f}" == millions and float(clean) == card.measured.clean_accuracy
        shares = (card.measured.verified_robust_accuracy or {}).items()
        assert proved == ", ".join(f"{share} at {eps}" for eps, share in shares)
