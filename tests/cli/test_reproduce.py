"""The command in a report gives the report again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize(
    "arguments",
    [
        ["certify", "--eps", "0.1,36/255", "--n", "7"],
        ["certify", "--arithmetic", "float64", "--batch-size", "5", "--audit-lipschitz"],
        ["compare", "--attacks", "autoattack:square?n_queries=20", "--eps", "0.3", "--seed", "3", "--audit", "2"],
        ["compare", "--attacks", "autoattack:square?n_queries=20", "--eps", "0.3", "--no-skip-certified", "--n", "9"],
    ],
)
def test_the_command_gives_the_same_report(lip: Any, model_dir: Path, data_file: Path, arguments: list[str]) -> None:
    verb, *options = arguments
    first = json.loads(lip(verb, model_dir, "--data", data_file, *options, "--json").out)
    command = first["request"]["command"]
    assert str(model_dir) not in command
    assert str(data_file.parent) not in command
    words = shlex.split(command)
    paths = {"MODEL_DIR": str(model_dir), data_file.name: str(data_file)}
    second = json.loads(lip(*(paths.get(word, word) for word in words[1:]), "--json").out)
    assert words[0] == "lip"
    assert {**first, "cost": None} == {**second, "cost": None}


def test_a_file_name_cannot_smuggle_in_a_command(lip: Any, model_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "a; rm -r $(x) 'b.npz"
    with path.open("wb") as file:
        np.savez(file, x=np.full((2, 1, 4, 4), 128, np.uint8), y=np.zeros(2, int))
    command = json.loads(lip("certify", model_dir, "--data", path, "--eps", "0.1", "--json").out)["request"]["command"]
    assert path.name in shlex.split(command)


def test_images_are_in_the_page_only_where_wanted(lip: Any, model_dir: Path, data_file: Path, tmp_path: Path) -> None:
    """The data set is the user's own: nobody knows its terms."""
    pytest.importorskip("matplotlib", reason="needs the extra report")
    arguments = ["--data", data_file, "--eps", "1", "--attacks", "autoattack:apgd-ce", "--audit", "0"]
    for option, shown in (([], False), (["--gallery"], True)):
        out = tmp_path / f"out{shown}"
        assert lip("compare", model_dir, *arguments, "--out", out, *option).code == 0
        assert ("data:image/png" in (out / "report.html").read_text()) is shown
