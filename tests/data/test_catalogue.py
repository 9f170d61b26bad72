"""The records of data sets, a stranger's beside ours, and that no other file knows a data set by its name."""

from __future__ import annotations

import ast
import dataclasses
import logging
import re
import string
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from lip_plugin.data import catalogue, load_image_set, load_images
from lip_plugin.data.catalogue import DataSet, dataset_names, find_dataset, get_dataset, list_datasets
from lip_plugin.data.download import download_image_set
from lip_plugin.data.readers import Arrays
from lip_plugin.errors import ConfigError, DataError, MissingDependencyError

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = ["cifar10", "cifar100", "fashion_mnist", "imagenet", "mnist", "tiny_imagenet"]
Install = Callable[[str, Mapping[str, Mapping[str, str]], str], Path]

SOURCE = """
from pathlib import Path
import numpy as np
from lip_plugin.data import Arrays, DataSet

def read(directory, split):
    count = 4 if split == "train" else 3
    return np.full((count, 1, 2, 2), 255, np.uint8), np.fromfile(directory / split, np.uint8)

def fetch(directory):
    for split, labels in (("train", [0, 1, 2, 0]), ("test", [2, 1, 1])):
        np.array(labels, np.uint8).tofile(directory / split)

DATASET = DataSet("stripes", "Stripes", Arrays(read), image_shape=(1, 2, 2), num_classes=3, download=fetch)
MISNAMED = DATASET
NUMBER = 3

def __getattr__(name):
    raise RuntimeError("not today") if name == "BROKEN" else AttributeError(name)
"""


def _install(installed: Install, **members: str) -> None:
    installed("lip_test_stripes", {"lip_plugin.datasets": members}, SOURCE)


def test_ours_are_found_by_their_names() -> None:
    assert [record.name for record in list_datasets() if record.name in OURS] == OURS
    for name in OURS:
        record = get_dataset(name)
        assert record.title and record.files
        assert len(set(record.class_names)) in (0, record.num_classes)


def test_class_names_of_cifar100_are_in_the_order_of_its_labels() -> None:
    record = get_dataset("cifar100")
    assert list(record.class_names) == sorted(record.class_names)  # the official file is in alphabetical order
    assert (record.class_names[0], record.class_names[42], record.class_names[99]) == ("apple", "leopard", "worm")


def test_a_data_set_from_elsewhere_is_downloaded_and_read(installed: Install, tmp_path: Path) -> None:
    assert find_dataset("stripes") is None and "stripes" not in dataset_names()
    _install(installed, stripes="lip_test_stripes:DATASET")
    folder = tmp_path / "files"
    folder.mkdir()
    with pytest.raises(DataError, match=r"cannot read stripes in .*files"):
        load_image_set("stripes", "test", folder)
    download_image_set("stripes", folder)
    for split, labels in (("train", [0, 1, 2, 0]), ("test", [2, 1, 1])):
        images = load_images("stripes", split, folder)
        assert images.labels.tolist() == labels
        assert (images.name, images.split, images.num_classes) == ("stripes", split, 3)
        assert images.source == f"stripes {split} split"
    np.array([0, 3, 1], np.uint8).tofile(folder / "test")
    with pytest.raises(DataError, match="label 3 is none of 3 classes"):
        load_image_set("stripes", "test", folder)


def test_nothing_is_known_or_allowed_of_a_foreign_one_unless_it_says_so(installed: Install) -> None:
    _install(installed, stripes="lip_test_stripes:DATASET")
    record = get_dataset("stripes")
    assert not record.may_be_shown and record.class_names == () and record.sok_radii == ()
    assert record.test is record.robustbench is record.standard_eps is None


def test_an_unknown_name_is_no_data_set_and_is_answered_with_the_nearest() -> None:
    assert find_dataset("cifar11") is None and find_dataset(None) is None
    with pytest.raises(ConfigError, match=r"no data set 'cifar11'; known: cifar10, .*Did you mean 'cifar10'"):
        get_dataset("cifar11")


def test_one_that_cannot_be_loaded_does_not_take_the_others_along(
    installed: Install, caplog: pytest.LogCaptureFixture
) -> None:
    _install(
        installed,
        broken="lip_test_stripes:BROKEN",
        lost="lip_test_stripes:ABSENT",
        number="lip_test_stripes:NUMBER",
        other="lip_test_stripes:MISNAMED",
    )
    with caplog.at_level(logging.WARNING, logger=catalogue.__name__):
        assert [record.name for record in list_datasets()] == OURS
    left_out = [record.getMessage() for record in caplog.records]
    assert [message.split("'")[1] for message in left_out] == ["broken", "lost", "number", "other"]
    for name, error, words in (
        ("lost", MissingDependencyError, "the data set 'lost' .* cannot be imported"),
        ("number", ConfigError, "'number' is a int; expected a lip_plugin.data.DataSet"),
        ("other", ConfigError, "'other' holds the data set 'stripes'; give both one name"),
    ):
        with pytest.raises(error, match=words):
            find_dataset(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_classes": 1}, "expected .* 2 classes or more"),
        ({"image_shape": (28, 28)}, r"images of \(28, 28\)"),
        ({"image_shape": (0, 28, 28)}, r"expected \(C, H, W\)"),
        ({"class_names": ("one",)}, "1 class names for 10 classes"),
        ({"standard_eps": 0.0}, "standard eps 0.0; expected a positive number"),
        ({"standard_eps": float("nan")}, "standard eps nan"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(change: dict[str, object], words: str) -> None:
    record = DataSet("digits", "Digits", Arrays(lambda _directory, _split: (np.zeros(1), np.zeros(1))), (1, 8, 8), 10)
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(record, **change)  # type: ignore[arg-type]


def test_the_catalogue_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from lip_plugin.data import list_datasets; "
        "print(len(list_datasets()), sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(list_datasets())} []\n"


# --- names ---------------------------------------------------------------------------------------------------------


def _texts(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every string and name of a module, its docstrings and comments left out."""
    tree = ast.parse(source)
    prose: set[ast.AST] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                prose.add(statement.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            yield node.lineno, node.value


def _named(source: str) -> list[tuple[int, str]]:
    pattern = re.compile(rf"(?<![\w-])({'|'.join(OURS)})(?![\w-])")
    return [(line, match[1]) for line, text in _texts(source) for match in pattern.finditer(text)]


def test_the_scan_sees_lists_by_hand_and_lets_prose_be() -> None:
    source = string.Template('''
"""About $a."""
KNOWN = {"$a": 1, "x": ("$b",)}
"""Of $a."""
def read(name: Literal["$b"], path=f"{root}/$a.npz"):
    """Reads $b."""
''').substitute(a="mnist", b="imagenet")
    assert sorted(_named(source)) == [(3, "imagenet"), (3, "mnist"), (5, "imagenet"), (5, "mnist")]


def test_no_file_but_its_own_knows_a_data_set_by_its_name() -> None:
    found: dict[str, set[str]] = {}
    for path in sorted([*(ROOT / "lip_plugin").rglob("*.py"), *(ROOT / "adapters").rglob("*.py")]):
        names = {name for _, name in _named(path.read_text(encoding="utf-8"))}
        if names:
            found[str(path.relative_to(ROOT))] = names
    assert found == {f"lip_plugin/data/sets/{name}.py": {name} for name in OURS}
