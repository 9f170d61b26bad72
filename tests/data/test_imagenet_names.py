"""The English names of ImageNet's class folders, held against another library's list of them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from lip_plugin.data.folders import scan_folder
from lip_plugin.data.imagenet_names import in_english

pytest.importorskip("torchvision")


def test_names_are_those_of_wordnet() -> None:
    pytest.importorskip("timm")
    info = resources.files("timm.data") / "_info"
    wnids = (info / "imagenet_synsets.txt").read_text().split()
    lines = (info / "imagenet_synset_to_lemma.txt").read_text().splitlines()
    lemmas = dict(line.split("\t") for line in lines)
    named = [name.split(" ", 1) for name in in_english(wnids)]
    assert [wnid for wnid, _ in named] == wnids and len({name for _, name in named}) == 1000
    others = [name for wnid, name in named if name.lower() not in lemmas[wnid].lower()]
    assert others == ["crane bird", "maillot tank suit"]  # two names that WordNet has twice


def test_folders_of_other_names_keep_them(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")
    for folder in ("n03888257", "n01440764"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / folder / "a.png")
    assert scan_folder(tmp_path).classes == ("n01440764 tench", "n03888257 parachute")
    (tmp_path / "n03888257").rename(tmp_path / "kites")
    assert scan_folder(tmp_path).classes == ("kites", "n01440764")
