"""What the class folders of ImageNet are called in English."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from lip_plugin.extras import require

_WNIDS = resources.files("lip_plugin.data.sets") / "imagenet_classes.txt"
"""WordNet's numbers of the 1,000 classes in their order, which is that of the text."""


def in_english(folders: Sequence[str]) -> tuple[str, ...]:
    """``n01440764`` as ``n01440764 tench``, where all are classes of ImageNet (ILSVRC 2012); others as they are.

    The names are torchvision's. Raises MissingDependencyError without it.
    """
    place_of = _places()
    if not all(folder in place_of for folder in folders):
        return tuple(folders)
    lib: Any = require("torchvision.models")
    names: Sequence[str] = lib.ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    return tuple(f"{folder} {names[place_of[folder]]}" for folder in folders)


@cache
def _places() -> dict[str, int]:
    return {wnid: place for place, wnid in enumerate(_WNIDS.read_text(encoding="ascii").split())}
