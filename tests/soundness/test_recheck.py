"""The independent checker agrees with the library, is an upper bound, and catches what was tampered with."""

from __future__ import annotations

import ast
import csv
import importlib.util
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
from torch.nn import functional

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.models.layers.minmax import MinMax
from lip_plugin.zoo import shipped

TOOL = Path(__file__).parents[2] / "tools" / "recheck.py"
DEMO = Path(shipped.__file__).parent / "LipPlugin2026_LiResNet_Demo"
SHAPE = (2, 12, 12)


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("recheck", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["recheck"] = module  # NamedTuple looks its annotations up there
    spec.loader.exec_module(module)
    return module


recheck = _load()


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
            arguments = ["certify", model, "--data", root / "images.npz", "--eps", "0.001", "--out", out, "--quiet"]
            assert run([str(argument) for argument in arguments]) == 0
        return root / name, root / "images.npz", root / f"{name}_out"

    return make


def _copied(model: Path, directory: Path) -> Path:
    directory.mkdir()
    for file in ("card.json", "model.safetensors"):
        (directory / file).write_bytes((model / file).read_bytes())
    return directory


def test_it_is_short_and_imports_nothing_but_numpy() -> None:
    source = TOOL.read_text()
    assert len(source.splitlines()) <= 500
    imported = set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and node.level == 0
            imported.add(node.module.partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"numpy"}
    assert not imported & {"importlib", "runpy", "subprocess", "ctypes"} and "__import__" not in source


def test_the_shipped_model(tmp_path: Path) -> None:
    assert run(["certify", "--n", "20", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    points, report = tmp_path / "out" / "points.csv", tmp_path / "out" / "report.json"
    result = _recheck(DEMO, "--points", points, "--report", report, "--images", 20)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert "20 radii of the library compared" in result.stdout
    assert result.stdout.endswith("OK\n")


@pytest.mark.parametrize("features", [_residual, _mixed])
def test_wrapped_models(features: Callable[[], nn.Sequential], case: Callable[..., Case]) -> None:
    model, images, out = case(features)
    arguments = (model, "--data", images, "--points", out / "points.csv", "--report", out / "report.json")
    result = _recheck(*arguments)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    library = lp.lipschitz_upper_bound(lp.load_model(model))
    lines = [line.split() for line in result.stdout.splitlines()[1 : 1 + len(library.layers)]]
    for line, layer in zip(lines, library.layers, strict=True):
        assert f"{line[0]} {line[1]}" == layer.name
        assert float(line[2]) == pytest.approx(layer.value, rel=1e-3)  # where the library keeps a circulant


def _random_conv(seed: int) -> tuple[nn.Conv2d, tuple[int, int, int]]:
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2]))
    kernel, dilation, stride = rng.integers(1, 5, 2), rng.integers(1, 3, 2), rng.integers(1, 4, 2)
    padding = [int(rng.integers(0, d * (k - 1) + 1)) for k, d in zip(kernel, dilation, strict=True)]
    torch.manual_seed(seed)
    conv = nn.Conv2d(
        groups * int(rng.integers(1, 4)),
        groups * int(rng.integers(1, 4)),
        (int(kernel[0]), int(kernel[1])),
        stride=(int(stride[0]), int(stride[1])),
        padding=(padding[0], padding[1]),
        dilation=(int(dilation[0]), int(dilation[1])),
        groups=groups,
        bias=False,
        dtype=torch.float64,
    )
    return conv, (conv.in_channels, int(rng.integers(7, 11)), int(rng.integers(7, 11)))


def _as_layer(conv: nn.Conv2d, padding: list[int] | None = None) -> Any:
    (top, left), settings = conv.padding, dict[str, Any]()
    settings = {"padding": padding or [top, top, left, left], "groups": conv.groups, "padding_mode": "zeros"}
    settings |= {"stride": [*conv.stride], "dilation": [*conv.dilation]}
    weight = conv.weight.detach().numpy()
    return recheck.Layer("conv", settings, {"weight": weight, "bias": np.zeros(len(weight))})


def _images(conv: nn.Conv2d, shape: tuple[int, int, int], padding: list[int]) -> torch.Tensor:
    """Of the unit vectors, as torch computes them."""
    size = int(np.prod(shape))
    top, bottom, left, right = padding
    units = functional.pad(torch.eye(size, dtype=torch.float64).reshape(size, *shape), (left, right, top, bottom))
    with torch.no_grad():
        return functional.conv2d(units, conv.weight, None, conv.stride, 0, conv.dilation, conv.groups)


@pytest.mark.parametrize("seed", range(40))
def test_norms_of_convolutions_against_singular_values(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    conv, shape = _random_conv(seed)
    layer = _as_layer(conv)
    images = _images(conv, shape, layer.settings["padding"])
    exact = float(torch.linalg.matrix_norm(images.flatten(1), 2))
    out = tuple(images.shape[1:])
    small, method = layer.conv_norm(shape, out)
    assert method in ("strips", "windows without overlap")
    assert exact * (1 - 1e-13) <= small
    if method == "strips":  # the kernel alone may exceed the layer: no window need lie inside the map
        assert small <= exact * (1 + 1e-6)
    monkeypatch.setattr(recheck, "SMALL", 0)
    large, method = layer.conv_norm(shape, out)
    assert exact * (1 - 1e-13) <= large
    if method != "windows without overlap":
        assert large <= exact * (1 + 1e-3)
    monkeypatch.setattr(recheck, "STRIPS_WORK", 0)
    grid, method = layer.conv_norm(shape, out)
    assert method in ("circulant grid", "windows without overlap")
    assert exact * (1 - 1e-13) <= grid <= exact * 2


def _strips(seed: int) -> tuple[list[Any], float]:
    """The Gram matrices of a random layer, padded differently on every side, and its norm."""
    conv, shape = _random_conv(seed)
    padding = np.random.default_rng(seed).integers(0, 4, 4).tolist()
    layer = _as_layer(conv, padding)
    images = _images(conv, shape, padding)
    unit = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    np.testing.assert_allclose(layer.convolve(unit, layer.tensors["weight"]), images.numpy(), atol=1e-15)
    parts = np.split(layer.tensors["weight"], conv.groups)
    return [recheck.strip_gram(part, *layer.axes(shape[1:])) for part in parts], float(
        torch.linalg.matrix_norm(images.flatten(1), 2)
    )


@pytest.mark.parametrize("seed", range(100, 130))
def test_norms_on_strips_against_singular_values(seed: int) -> None:
    grams, exact = _strips(seed)
    assert exact * (1 - 1e-13) <= recheck.proved_norm(grams) <= exact * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(100, 110))
@pytest.mark.parametrize("factor", [0.2, 0.9, 1 - 1e-5, 1 - 1e-12])
def test_too_small_a_norm_is_not_proved(seed: int, factor: float) -> None:
    grams, exact = _strips(seed)
    square = (factor * exact) ** 2
    for blocks, rounding in grams:
        try:
            missing = recheck.remainder(blocks, square)
        except np.linalg.LinAlgError:
            continue
        norm = recheck.proved_norm([(blocks, rounding)])
        assert square + missing + rounding >= norm**2 * (1 - 1e-6)  # another group's, where it is below the layer's
    assert recheck.proved_norm(grams, square) >= exact * (1 - 1e-13)


@pytest.mark.parametrize(
    ("name", "tampered"),
    [
        ("cholesky", lambda sound, a: 0.9 * sound(a)),
        ("cholesky", lambda sound, a: np.eye(len(a))),
        ("cholesky", lambda sound, a: np.zeros(a.shape)),
        ("solve", lambda sound, a, b: 0.0 * b),
        ("solve", lambda sound, a, b: 1.1 * sound(a, b)),
        ("eigh", lambda sound, a: (0.3 * sound(a)[0], sound(a)[1])),
        ("eigh", lambda sound, a: (2.0 * sound(a)[0], sound(a)[1])),
    ],
)
@pytest.mark.parametrize("seed", [100, 104, 108, 120])
def test_wrong_guesses_raise_the_bound(
    seed: int, name: str, tampered: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LAPACK may return anything: the bound stays one, and is no longer sharp."""
    grams, exact = _strips(seed)
    assert max(i - j for i, j in grams[0][0]) > 0
    sound = getattr(np.linalg, name)
    monkeypatch.setattr(np.linalg, name, lambda *arguments: tampered(sound, *arguments))
    assert recheck.proved_norm(grams) >= exact * (1 + 1e-6)
    monkeypatch.setattr(recheck, "guess", lambda blocks: 0.0)
    for factor in (0.5, 0.8, 0.95):
        assert recheck.proved_norm(grams, (factor * exact) ** 2) >= exact * (1 - 1e-13)


def test_the_largest_of_all_errors_counts() -> None:
    blocks, _ = recheck.gram_matrix(np.eye(2))
    assert recheck.proved_norm([(blocks, 3.0), (blocks, 0.0)]) >= 2.0
    assert recheck.proved_norm([(blocks, float("nan")), (blocks, 0.0)]) == float("inf")


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("n", "stride", "padding", "kernel"),
    [
        (2, 1, [1, 1], [1, 0, -1]),
        (2, 1, [0, 2], [1, 0, -1]),
        (2, 1, [2, 0], [1, 0, -1]),
        (4, 2, [2, 2], [1, 0, 0, 0, -1]),
    ],
)
def test_wrap_around_that_cancels(
    n: int, stride: int, padding: list[int], kernel: list[int], transposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers of norm 1 that vanish on a circle of n pixels: the padding must count, and this test must notice it."""
    weight = np.array(kernel, np.float64).reshape((1, 1, -1, 1) if transposed else (1, 1, 1, -1))
    shape, strides = ((1, n, 1), [stride, 1]) if transposed else ((1, 1, n), [1, stride])
    settings = {"stride": strides, "dilation": [1, 1], "groups": 1, "padding_mode": "zeros"}
    settings["padding"] = [*padding, 0, 0] if transposed else [0, 0, *padding]
    layer = recheck.Layer("conv", settings, {"weight": weight, "bias": np.zeros(1)})
    images = layer.convolve(np.eye(n).reshape(n, *shape), weight)
    out, matrix = images.shape[1:], images.reshape(n, -1)
    assert np.linalg.norm(matrix, 2) == pytest.approx(1.0)
    monkeypatch.setattr(recheck, "STRIPS_WORK", 0)
    assert layer.conv_norm(shape, out)[0] >= 1.0
    sound = recheck.Axis.of
    monkeypatch.setattr(recheck.Axis, "of", lambda *settings: sound(*settings)._replace(grid=-(-settings[1] // stride)))
    assert layer.conv_norm(shape, out)[0] < 0.5


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (40, 12), (64, 64)])
@pytest.mark.parametrize("scale", [1e-170, 1e-3, 1.0, 1e60])
def test_norms_of_matrices(shape: tuple[int, int], scale: float) -> None:
    """Random, orthogonal, of rank one, zero: never below the singular value."""
    random = np.random.default_rng(0).standard_normal(shape)
    u, _, v = np.linalg.svd(random, full_matrices=False)
    for a in (random, u @ v, np.ones(shape), np.zeros(shape), random + 1j * random[::-1]):
        exact = scale * float(np.linalg.norm(a, 2))
        bound = recheck.proved_norm([recheck.gram_matrix(scale * a)])
        assert exact * (1 - 1e-14) <= bound
        if scale > 1e-100:
            assert bound <= exact * (1 + 1e-6) + 1e-70


def test_radii_against_exact_arithmetic() -> None:
    """A linear classifier with large biases: r ||w_j - w_i|| <= margin holds in rational arithmetic, nearly tightly."""
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((3, 8)), 1e6 + rng.standard_normal(3)
    x = rng.random((20, 8, 1, 1))
    layers = [recheck.Layer("flatten", {}, {}), recheck.Layer("head", {}, {"weight": weight, "bias": bias})]
    best, radii = recheck.certify(layers, [1.0], 1.0, x)
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
    _, layers = recheck.read_model(case(_residual)[0])
    return list(recheck.prove_layers(layers, SHAPE))


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

    monkeypatch.setattr(recheck, "prove_layers", bounds)
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
        recheck.read_safetensors(len(text).to_bytes(8, "little") + text + bytes(8))


@pytest.mark.parametrize("content", [b"", b"1234567", bytes([255] * 8) + b"{}", b'\x0e\0\0\0\0\0\0\0{"a":1, "a":2}'])
def test_malformed_headers(content: bytes) -> None:
    with pytest.raises(ValueError, match="weights"):
        recheck.read_safetensors(content)


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
        monkeypatch.setattr(recheck, "prove_layers", bounds)
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
    def unproved(layers: list[Any], _: object) -> list[tuple[float, str]]:
        return [(1.0, "not proved: this is about what comes after")] * (len(layers) - 1)

    monkeypatch.setattr(recheck, "prove_layers", unproved)
    assert _main(*arguments) == 2
    assert capsys.readouterr().err.startswith("bad input: ")
