"""A flat folder of pictures with a list of lines ``path label``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lip_plugin.data.classes import Classes
from lip_plugin.data.find import find_folders, find_held_out_folder, find_val
from lip_plugin.data.listed import read_list
from lip_plugin.errors import DataError

Image: Any = pytest.importorskip("PIL.Image")
CLASSES = ("n03", "n01", "n20")


def _picture(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5, 3), value, np.uint8)).save(path)


def _flat(root: Path, listed: str) -> None:
    for value, name in enumerate(("b", "a", "c d")):
        _picture(root / "val" / f"{name}.png", value)
    (root / "val" / "readme.txt").write_text("")
    (root / "val.txt").write_text(listed)


def test_the_order_and_the_numbers_are_those_of_the_list(tmp_path: Path) -> None:
    _flat(tmp_path, "c d.png\t0\n\nb.png 2\n")
    found = find_val(tmp_path)
    assert found.labels.tolist() == [0, 2] and found.classes == ("0", "1", "2")
    assert [int(found.read(index).max()) for index in range(2)] == [2, 0]
    assert found.manifest is not None
    assert found.manifest.left_out == {"not in val.txt": 1, "of the kind .txt": 1}
    assert found.manifest.numbered_by == "the numbers in val.txt"


def test_a_list_may_name_the_classes_of_the_training_folders(tmp_path: Path) -> None:
    for name in CLASSES:
        _picture(tmp_path / "train" / name / "0.png")
    _flat(tmp_path, "b.png n20\na.png n01\nc d.png 1\n")
    train, val = find_folders(tmp_path)
    assert val.labels.tolist() == [2, 0, 1] and val.classes == train.classes == ("n01", "n03", "n20")
    (tmp_path / "val.txt").write_text("b.png 3\n")
    with pytest.raises(DataError, match=r"val\.txt, line 1: label '3'; expected 0 to 2, or one of 'n01', 'n03', 'n20'"):
        find_folders(tmp_path)


def test_without_a_list_it_is_said_where_the_pictures_lie(tmp_path: Path) -> None:
    _flat(tmp_path, "")
    (tmp_path / "val.txt").unlink()
    for find in (find_val, find_held_out_folder):
        with pytest.raises(DataError, match=r"lie directly in it; expected class folders val/<class>/\*, or a list"):
            find(tmp_path)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "is empty"),
        ("b.png\n", "line 1: label 'b.png'; expected a class number"),
        ("b.png dog\n", "label 'dog'; expected a class number from 0"),
        ("b.png -1\n", "label '-1'"),
        ("b.png 10000000000000000000\n", "label '1000"),
        ("a.png 0\nx.png 1\n", "line 2: no file 'x.png'"),
        ("b.png 1\na.png 0\nb.png 1\n", "names 'b.png' more than once"),
        ("../val/b.png 1\n", "leads out of"),
        ("/etc/passwd 1\n", "leads out of"),
    ],
)
def test_bad_lists_are_refused(lines: str, words: str, tmp_path: Path) -> None:
    _flat(tmp_path, lines)
    with pytest.raises(DataError, match=words):
        find_val(tmp_path)


def test_a_class_called_like_the_number_of_another(tmp_path: Path) -> None:
    _flat(tmp_path, "b.png 10\n")
    with pytest.raises(DataError, match="'10' is the name of class 2; write numbers, or rename the class"):
        read_list(tmp_path / "val.txt", tmp_path / "val", Classes(("0", "1", "10"), "a list"))
