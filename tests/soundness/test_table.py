"""The table of tightness: its figures stand in the order that their directions of error demand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import lip_plugin as lp
from lip_plugin.network import Conv, Flatten, Head

from .loading import load_tool

table = load_tool("soundness_table")
DEMO = "LipPlugin2026_LiResNet_Demo"


def test_every_row_is_there_and_in_order(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker proves this model in test_recheck.py; here it is asked about a small one, below."""
    asked = list[Path]()
    monkeypatch.setattr(table, "checker_bound", lambda directory: asked.append(directory) or "7.5")
    assert table.main([DEMO, "--n", "8", "--attacked", "4", "--attacks", "foolbox:DeepFool", "--steps", "50"]) == 0
    rows: dict[str, str] = dict(re.findall(r"^\| (.+?) \| (\S.*) \|$", capsys.readouterr().out, re.MULTILINE))

    def number(start: str) -> float:
        (value,) = (text for name, text in rows.items() if name.startswith(start))
        return float(re.split(r"[ /]", value)[0])

    bound = lp.lipschitz_upper_bound(lp.load_model(DEMO)).value
    assert number("proved upper bound") == pytest.approx(bound, abs=1e-6)
    assert number("checker's upper bound") == 7.5 and [path.name for path in asked] == [DEMO]
    assert 0.9 * bound < number("two points show at least") <= bound
    assert 0.95 * bound < number("estimate, 50 steps") <= bound
    shares = [number(f"VRA, {arithmetic}") for arithmetic in ("forward", "float32", "float64", "real")]
    assert sorted(shares) == shares and shares[-1] <= number("VRA at 0.1 / 0.25 / 0.5, estimate")
    assert number("adversarial distance over radius") >= 1.0


def test_the_checker_is_asked_for_its_bound(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    conv, head = Conv(torch.randn(2, 3, 3, 3, generator=draw)), Head(torch.randn(3, 8, generator=draw))
    model = lp.CertifiedClassifier([conv, Flatten()], head, input_shape=(3, 4, 4))
    model.save(tmp_path / "model")
    assert float(table.checker_bound(tmp_path / "model")) == pytest.approx(
        lp.lipschitz_upper_bound(model).value, abs=1e-6
    )
    assert table.checker_bound(tmp_path / "nowhere") == "not proved"
