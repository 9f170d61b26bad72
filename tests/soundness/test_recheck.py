"""The independent checker agrees with the library, is an upper bound, and catches what was tampered with."""

from __future__ import annotations

import ast
import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.models.bronet import BRONetConfig
from lip_plugin.models.layers.minmax import MinMax
from lip_plugin.network import FrequencyConv
from lip_plugin.zoo import shipped

from .loading import TOOLS, load_checker, load_tool

TOOL = TOOLS / "recheck.py"
DEMO = Path(shipped.__file__).parent / "LipPlugin2026_LiResNet_Demo"
SHAPE = (2, 12, 12)

recheck = load_tool("recheck")
certificate, command, reading = map(load_checker, ("certificate", "command", "reading"))
read_model = load_checker("model").read_model


def _recheck(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def _main(*arguments: object) -> int:
    return recheck.main([str(argument) for argument in arguments])


def _residual() -> nn.Sequential:
    """As LiResNet: a strided stem, wide maps that need the grid, windows without overlap, dense layers."""
    return nn.Sequential(
        nn.Conv2d(2, 8, 5, stride=1, padding=2),
        MinMax(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        MinMax(),
        nn.Conv2d(8, 8, 5, stride=2, padding=2),
        nn.LeakyReLU(0.1),
        nn.Conv2d(8, 8, 2, stride=2),
        nn.Flatten(),
        nn.Linear(72, 64),
        MinMax(),
    )


def _mixed() -> nn.Sequential:
    """Groups, dilation, one-sided padding, normalisation, pooling, every activation, rearrangements."""
    norm = nn.BatchNorm2d(8)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    return nn.Sequential(
        nn.PixelUnshuffle(2),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2),
        norm,
        nn.ReLU(),
        nn.PixelShuffle(2),
        nn.Conv2d(2, 8, 2, padding="same"),
        nn.ELU(1.3),
        nn.AvgPool2d(3, stride=2, padding=1),
        nn.Tanh(),
        nn.Sigmoid(),
        nn.Conv2d(8, 4, (3, 1), stride=(1, 2), padding=(0, 1)),
        nn.Flatten(),
    )


Case = tuple[Path, Path, Path]
"""Model directory, images, and what ``lip certify --out`` wrote."""


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[], nn.Sequential]], Case]:
    """A random model, saved and certified by the library."""
    root = tmp_path_factory.mktemp("recheck")
    np.savez(
        root / "images.npz",
        x=np.random.default_rng(0).integers(0, 256, (30, *SHAPE), np.uint8),
        y=np.arange(30) % 4,
    )

    def make(features: Callable[[], nn.Sequential]) -> Case:
        name = features.__name__
        if not (root / name).exists():
            torch.manual_seed(0)
            model, out = root / name, root / f"{name}_out"
            lp.wrap(features().eval(), nn.Linear(64, 4).eval(), input_shape=SHAPE).save(model)
            arguments = ["certify", model, "--data", root / "images.npz", "--eps", "0.001", "--bound", "tight"]
            arguments += ["--out", out, "--quiet"]
            assert run([str(argument) for argument in arguments]) == 0
        return root / name, root / "images.npz", root / f"{name}_out"

    return make


def _copied(model: Path, directory: Path) -> Path:
    directory.mkdir()
    for file in ("card.json", "model.safetensors"):
        (directory / file).write_bytes((model / file).read_bytes())
    return directory


PARTS = [TOOL, *sorted((TOOLS / "rechecking").rglob("*.py"))]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.stem)
def test_its_files_are_short_and_import_nothing_but_numpy(part: Path) -> None:
    """And each other: by relative imports, which do not lead out of the folder."""
    source, imported = part.read_text(), set[str]()
    assert len(source.splitlines()) <= 300
    depth = len(part.relative_to(TOOLS).parts) - 1
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            assert node.level <= depth
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            imported.add(node.module.partition(".")[0])
    assert imported - set(sys.stdlib_module_names) <= {"numpy", *(["rechecking"] if part == TOOL else [])}
    assert not imported & {"importlib", "runpy", "subprocess", "ctypes"} and "__import__" not in source


def test_it_runs_from_anywhere_and_in_isolation(tmp_path: Path) -> None:
    for options in ([], ["-I"]):
        command = [sys.executable, *options, str(TOOL), "nowhere"]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
        assert (ran.returncode, ran.stdout) == (2, "") and ran.stderr.startswith("bad input: FileNotFoundError")


@pytest.mark.parametrize("tight", [True, False])
def test_the_shipped_model(tight: bool, tmp_path: Path) -> None:
    bound, tolerance = ("tight", 1e-3) if tight else ("quick", 0.02)
    assert run(["certify", "--n", "20", "--bound", bound, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    points, report = tmp_path / "out" / "points.csv", tmp_path / "out" / "report.json"
    result = _recheck(DEMO, "--points", points, "--report", report, "--images", 20, "--tolerance", tolerance)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert "20 radii of the library compared" in result.stdout
    assert result.stdout.endswith("OK\n")


@pytest.mark.parametrize("features", [_residual, _mixed])
def test_wrapped_models(features: Callable[[], nn.Sequential], case: Callable[..., Case]) -> None:
    model, images, out = case(features)
    arguments = (model, "--data", images, "--points", out / "points.csv", "--report", out / "report.json")
    result = _recheck(*arguments)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    with lp.bounds_of("tight"):
        library = lp.lipschitz_upper_bound(lp.load_model(model))
    lines = [line.split() for line in result.stdout.splitlines()[1 : 1 + len(library.layers)]]
    for line, layer in zip(lines, library.layers, strict=True):
        assert f"{line[0]} {line[1]}" == layer.name
        assert float(line[2]) == pytest.approx(layer.value, rel=1e-6)


@pytest.mark.parametrize("grows", [False, True])
def test_convolutions_by_frequency(grows: bool, tmp_path: Path) -> None:
    """A BRONet whose reflectors are stored in float32, and of which one is made too long by a tenth of a per cent."""
    torch.manual_seed(0)
    config = BRONetConfig(depth=2, width=4, neck_patch=2, dense_width=6, dense_depth=1, grows=grows)
    trainable = config.build(input_shape=SHAPE, num_classes=4)
    with torch.no_grad():
        for value in trainable.parameters():
            value += 0.1 * torch.randn_like(value)
    frozen = lp.freeze(trainable)
    layers = list(frozen.operators)
    index = next(i for i, layer in enumerate(layers) if isinstance(layer, FrequencyConv))
    layers[index] = layers[index].map_tensors(lambda factor: 1.001 * factor)
    network = lp.CertifiedClassifier(layers, frozen.head, input_shape=SHAPE)
    network.save(tmp_path / "model")
    x = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), np.uint8)
    np.savez(tmp_path / "images.npz", x=x, y=np.arange(20) % 4)
    arguments = ["certify", tmp_path / "model", "--data", tmp_path / "images.npz", "--eps", "0.001", "--quiet"]
    assert run([str(argument) for argument in [*arguments, "--out", tmp_path / "out"]]) == 0
    files = ["--points", tmp_path / "out" / "points.csv", "--report", tmp_path / "out" / "report.json"]
    result = _recheck(tmp_path / "model", "--data", tmp_path / "images.npz", *files)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    proved = [float(line.split()[2]) for line in result.stdout.splitlines() if " frequency_conv " in line]
    assert proved == pytest.approx([1.001**2 * 2 - 1, 1.0], abs=1e-5)
    assert "20 radii of the library compared" in result.stdout


def test_radii_against_exact_arithmetic() -> None:
    """A linear classifier with large biases: r ||w_j - w_i|| <= margin holds in rational arithmetic, nearly tightly."""
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((3, 8)), 1e6 + rng.standard_normal(3)
    x = rng.random((20, 8, 1, 1))
    kinds = load_checker("layer").KINDS
    layers = [kinds["flatten"]({}, {}, (8, 1, 1)), kinds["head"]({}, {"weight": weight, "bias": bias}, (8,))]
    best, radii = certificate.certify(layers, [1.0], 1.0, x)
    rows = [[Fraction(v) for v in row] for row in weight.tolist()]
    for image, j, r in zip(x.reshape(20, 8).tolist(), best.tolist(), radii.tolist(), strict=True):
        values = [sum((w * Fraction(v) for w, v in zip(row, image, strict=True)), Fraction(0)) for row in rows]
        logits = [value + Fraction(b) for value, b in zip(values, bias.tolist(), strict=True)]
        ratios = list[float]()
        for i in {0, 1, 2} - {j}:
            squared = sum((a - b) ** 2 for a, b in zip(rows[j], rows[i], strict=True))
            assert r == 0 or logits[j] > logits[i]
            assert Fraction(r) ** 2 * squared <= (logits[j] - logits[i]) ** 2
            ratios.append(float(logits[j] - logits[i]) / float(squared) ** 0.5)
        assert r >= min(ratios) - 1e-7


@pytest.fixture(scope="module")
def residual_bounds(case: Callable[..., Case]) -> list[tuple[float, str]]:
    """Proved once: what is tampered with below comes later."""
    _, layers = read_model(case(_residual)[0])
    return list(certificate.prove_layers(layers))


Row = dict[str, str]


def _edit(row: Row, **changes: object) -> None:
    row.update({name: str(value) for name, value in changes.items()})


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda row: _edit(row, radius=float(row["radius"]) * 1.01), "exceeds the proved"),
        (lambda row: _edit(row, radius=float(row["radius"]) * (1 + 1e-5)), "exceeds the proved"),
        (lambda row: _edit(row, radius=float(row["radius"]) * 0.99), "below the proved"),
        (lambda row: _edit(row, radius="nan"), "exceeds the proved"),
        (lambda row: _edit(row, prediction=(int(row["prediction"]) + 1) % 4), "the checker finds"),
        (lambda row: _edit(row, label=(int(row["label"]) + 1) % 4), "the data says"),
        (lambda row: _edit(row, **{"status@0.001": "wrong", "status@9": "certified"}), "is certified, with radius"),
    ],
)
def test_tampered_points(
    tamper: Callable[[Row], None],
    message: str,
    case: Callable[..., Case],
    residual_bounds: list[tuple[float, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def bounds(*_: object) -> list[tuple[float, str]]:
        return residual_bounds

    monkeypatch.setattr(command, "prove_layers", bounds)
    model, images, out = case(_residual)
    with (out / "points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tamper(rows[7])
    with (tmp_path / "points.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[7]])
        writer.writeheader()
        writer.writerows(rows)
    capsys.readouterr()
    assert _main(model, "--data", images, "--points", tmp_path / "points.csv") == 1
    printed = capsys.readouterr().out
    assert "DISAGREES: image 7: " in printed and message in printed and printed.endswith("FAILED\n")
    assert {line.split(":")[1] for line in printed.splitlines() if "DISAGREES" in line} == {" image 7"}


def test_flipped_and_truncated_weights(case: Callable[..., Case], tmp_path: Path) -> None:
    model, _, _ = case(_residual)
    content = (model / "model.safetensors").read_bytes()
    flipped, cut = _copied(model, tmp_path / "flipped"), _copied(model, tmp_path / "cut")
    (flipped / "model.safetensors").write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])
    (cut / "model.safetensors").write_bytes(content[:-40])
    result = _recheck(flipped)
    assert result.returncode == 1
    assert "the weights have sha256" in result.stdout
    result = _recheck(cut)
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {}},
        {
            "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        },
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        [],
    ],
)
def test_malformed_safetensors(header: object) -> None:
    text = json.dumps(header).encode()
    with pytest.raises((ValueError, LookupError, TypeError)):
        reading.read_safetensors(len(text).to_bytes(8, "little") + text + bytes(8))


@pytest.mark.parametrize("content", [b"", b"1234567", bytes([255] * 8) + b"{}", b'\x0e\0\0\0\0\0\0\0{"a":1, "a":2}'])
def test_malformed_headers(content: bytes) -> None:
    with pytest.raises(ValueError, match="weights"):
        reading.read_safetensors(content)


def _change(card: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {**card, **changes}


def _as_sigmoid(card: dict[str, Any]) -> dict[str, Any]:
    """MinMax with the settings of an activation whose bound is 1/4."""
    card["network"][1]["settings"] = {"function": "sigmoid", "parameter": 0.0}
    return card


def _unknown(card: dict[str, Any]) -> dict[str, Any]:
    card["network"][1]["kind"] = "warp"
    return card


@pytest.mark.parametrize(
    ("edit", "code", "message"),
    [
        (lambda card: _change(card, params=card["params"] + 1), 1, "the card says"),
        (lambda card: _change(card, num_classes=5), 1, "the card says"),
        (lambda card: _change(card, measured={"lipschitz_upper_bound": 0.001}), 1, "does not agree"),
        (lambda card: _change(card, measured={"lipschitz_upper_bound": 1e9}), 1, "does not agree"),
        (lambda card: _change(card, measured={"lipschitz_upper_bound": float("nan")}), 1, "does not agree"),
        (lambda card: _change(card, network=card["network"][:-1]), 2, "not used exactly once"),
        (lambda card: _change(card, network=[]), 2, "not used exactly once"),
        (lambda card: _change(card, threat_model="Linf"), 2, "Linf"),
        (lambda card: _change(card, input_shape=[2, 12]), 2, "input_shape"),
        (_unknown, 2, "operator kind 'warp' is not supported"),
        (_as_sigmoid, 0, "01 minmax          1  "),
    ],
)
def test_edited_cards(
    edit: Callable[[dict[str, Any]], dict[str, Any]],
    code: int,
    message: str,
    case: Callable[..., Case],
    residual_bounds: list[tuple[float, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def bounds(*_: object) -> list[tuple[float, str]]:
        return residual_bounds

    if code == 1:
        monkeypatch.setattr(command, "prove_layers", bounds)
    model, _, _ = case(_residual)
    edited = _copied(model, tmp_path / "edited")
    card = edit(json.loads((model / "card.json").read_text()))
    (edited / "card.json").write_text(json.dumps(card))
    capsys.readouterr()
    assert _main(edited) == code
    captured = capsys.readouterr()
    assert message in captured.out + captured.err
    assert captured.err.count("\n") == (code == 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere"],
        [],
        [DEMO, "--images", "0"],
        [DEMO, "--images", "x"],
        [DEMO, "--data", TOOL],
        [DEMO, "--images", "1", "--points", TOOL],
    ],
)
def test_bad_input(
    arguments: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unproved(layers: list[Any]) -> list[tuple[float, str]]:
        return [(1.0, "not proved: this is about what comes after")] * (len(layers) - 1)

    monkeypatch.setattr(command, "prove_layers", unproved)
    assert _main(*arguments) == 2
    assert capsys.readouterr().err.startswith("bad input: ")
