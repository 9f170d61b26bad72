"""Recipes and overrides as a stranger writes them: one short line each, and nothing that unfolds, hangs or runs."""

from __future__ import annotations

import math
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml

from lip_plugin.cli import run
from lip_plugin.errors import ConfigError
from lip_plugin.train.config import load_config, recipe_names
from lip_plugin.untrusted.settings import LARGEST_SETTINGS, parse_settings

GOOD = "dataset: fashion_mnist\neps: 0.1\nepochs: 1\n"
BOMB = 'a0: &a0 ["lol","lol"]\n' + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 9))

RECIPES: dict[str, tuple[str, str]] = {
    "aliases": (BOMB + "dataset: *a8\n", "an anchor or alias"),
    "an anchor that nothing uses": ("dataset: &a mnist\n", "an anchor or alias"),
    "an anchor at a key": ("&a dataset: mnist\n", "an anchor or alias"),
    "an alias as a key": ("? *a\n: mnist\n", "an anchor or alias"),
    "an anchor at a list": ("eps_grid: &a [1]\n", "an anchor or alias"),
    "a mapping within itself": ("a: &x {b: *x}\n" + GOOD, "an anchor or alias"),
    "a merge key": (GOOD + "model: {<<: {depth: 2}}\n", "unknown setting 'model.<<'"),
    "brackets": ("dataset: " + "[" * 5000 + "]" * 5000, "more than 16 levels"),
    "braces": ("dataset: " + "{a: " * 5000, "more than 16 levels"),
    "dashes": ("- " * 5000, "more than 16 levels"),
    "a long integer": (GOOD.replace("0.1", "1" + "0" * 5000), "an integer of 5001 characters"),
    "an integer beyond 64 bits": (GOOD + f"seed: {2**63}\n", "at most 64 bits"),
    "a long integer in quotes": (GOOD + f'seed: "{"1" * 5000}"\n', "setting seed: .*integer"),
    "a long fraction": (GOOD.replace("0.1", "0." + "1" * 5000), "at most 100 characters"),
    "a number beyond doubles": (GOOD + "weight_decay: 1.0e+999\n", "no finite double"),
    "octal": (GOOD.replace("epochs: 1", "epochs: 010"), "decimal"),
    "hexadecimal": (GOOD.replace("epochs: 1", "epochs: 0x10"), "decimal"),
    "minutes": (GOOD.replace("epochs: 1", "epochs: 1:30"), "decimal"),
    "minutes with a fraction": (GOOD.replace("0.1", "1:30.5"), "decimal"),
    "30 February": (GOOD.replace("epochs: 1", "epochs: 2021-02-30"), "setting epochs: .*integer.*'2021-02-30'"),
    "a date": (GOOD.replace("epochs: 1", "epochs: 2021-02-03"), "setting epochs: .*integer.*'2021-02-03'"),
    "a truth for an integer": (GOOD.replace("epochs: 1", "epochs: on"), "setting epochs: expected no true.*got True"),
    "a truth for a number": (GOOD.replace("0.1", "yes"), "setting eps: expected no true"),
    "a truth in a pair": (GOOD + "eps_ramp: [0.5, true]\n", "setting eps_ramp: expected no true"),
    "a key twice": (GOOD + "eps: 100\n", "key 'eps' a second time in line 4"),
    "a key twice, deeper": (GOOD + "model: {depth: 2, 'depth': 3}\n", "key 'depth' a second time"),
    "a list as a key": ("? [a]\n: 1\n", "a key that is no word"),
    "a tag": (GOOD + "seed: !!int 3\n", r"a tag \(!\)"),
    "a tag of its own": ("!thing\n" + GOOD, r"a tag \(!\)"),
    "two documents": (GOOD + "---\n" + GOOD, "a second document"),
    "an escape beyond Unicode": ('dataset: "\\U00110000"\n', "not valid YAML"),
    "an escape beyond integers": ('dataset: "\\UFFFFFFFF"\n', "not valid YAML"),
    "half a character": ('dataset: "\\ud800"\n', "control characters"),
    "a terminal escape": ('dataset: "\\e[2J"\n', "control characters"),
    "a terminal escape in a key": ('"\\e[2J": 1\n', "control characters"),
    "a zero byte in a path": (GOOD + 'data_dir: "a\\0b"\n', "control characters"),
    "a zero byte": (GOOD + "\0", "not valid YAML"),
    "a version with many digits": (f"%YAML 1.{'9' * 5000}\n---\n" + GOOD, "not valid YAML"),
    "a long key": ("? " + "k" * 5000 + "\n: 1\n" + GOOD, "unknown setting 'kkk"),
    "a long value": (GOOD + f"device: [{'1,' * 20000}]\n", "setting device: .*got "),
    "a large file": ("#" * (LARGEST_SETTINGS + 1), f"{LARGEST_SETTINGS + 1} bytes; expected at most"),
    "a radius beyond any image": (GOOD.replace("0.1", "1.0e+7"), "setting eps: .*less than"),
    "a grid that no card holds": (GOOD + "eps_grid: [0.1, -1]\n", r"setting eps_grid\.1: .*greater than"),
    "a long grid": (GOOD + f"eps_grid: [{'1,' * 65}]\n", "setting eps_grid: .*at most 64"),
    "a wide model": (GOOD + "model: {width: 100000000}\n", "setting model: more than .* weights"),
    "a deep model": (GOOD + "model: {depth: 100000000, width: 2}\n", "setting model: more than .* layers"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    text, words = RECIPES[name]
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=words) as caught:
            load_config(str(path))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    line = str(caught.value)
    assert len(line) <= 2000 and line.isprintable(), line
    assert most < 64 * 2**20


def test_the_command_line_ends_with_2_and_one_short_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    place = "/" + "long/" * 1000
    for text, overrides in ((BOMB, []), (GOOD, [f"data_dir={place}"]), (GOOD, ["eps=" + "[" * 5000])):
        path.write_text(text)
        capsys.readouterr()
        assert run(["train", str(path), *overrides, "--out", str(tmp_path / "out"), "--quiet"]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and len(err) <= 2000
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model=&a {depth: 2}", "an anchor or alias"),
        ("epochs=" + "9" * 5000, "an integer of 5000 characters"),
        ("epochs=!!int 3", "a tag"),
        ("epochs=3\n--- 4", "a second document"),
        ("model={depth: 2, depth: 3}", "key 'depth' a second time"),
        ("eps=" + " " * LARGEST_SETTINGS + "1", f"characters; expected at most {LARGEST_SETTINGS}"),
        ("a." * 5000 + "b=1", "5000 groups deep"),
        ("x" * 5000, "not of the form"),
    ],
)
def test_overrides_go_through_the_same_door(override: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(str(path), [override])
    assert len(str(caught.value)) <= 2000 and str(caught.value).isprintable()


def test_what_is_no_text_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    (tmp_path / "utf16.yaml").write_bytes(GOOD.encode("utf-16"))
    for name, words in {
        "fifo": "FIFO",
        "folder": "directory",
        "zero": "device",
        "loop": "cannot read",
        "utf16": "utf-8",
        "zero\0byte": "cannot read",
        "x" * 5000: "too long",
    }.items():
        with pytest.raises(ConfigError, match=words):
            load_config(str(tmp_path / f"{name}.yaml"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "good.yaml").write_text("\ufeff" + GOOD.replace("\n", "\r\n"), encoding="utf-8")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "elsewhere" / "good.yaml")
    assert load_config(str(tmp_path / "link.yaml")).eps == 0.1


@pytest.mark.parametrize("recipe", recipe_names())
def test_plain_recipes_read_as_by_pyyaml(recipe: str) -> None:
    config = load_config(recipe)
    dumped = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    assert parse_settings(dumped, "config.yaml") == yaml.safe_load(dumped)
    assert type(config).model_validate(parse_settings(dumped, "config.yaml")) == config


def test_words_and_numbers() -> None:
    expected: dict[str, Any] = {
        "3": 3, "-7": -7, "+1_000": 1000, "0": 0, "1.5": 1.5, "-1.5": -1.5, "1.0e-3": 1e-3, "1_0.5": 10.5,
        "1e-3": "1e-3", ".inf": math.inf, "-.Inf": -math.inf, "yes": True, "Off": False, "~": None, "": None,
        "08": "08", "'3'": "3", "2021-02-30": "2021-02-30", "=": "=", "inf": "inf", "{1: 2}": {"1": 2},
        "|\n  a\n  b\n": "a\nb\n", "[a, [1], {b: }]": ["a", [1], {"b": None}],
        str(2**63 - 1): 2**63 - 1, str(-(2**63)): -(2**63),
    }  # fmt: skip
    for text, value in expected.items():
        found = parse_settings(text, "a test")
        assert found == value and type(found) is type(value), text
    assert math.isnan(parse_settings(".nan", "a test"))
