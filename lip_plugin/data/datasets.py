"""Data sets by name from a directory that is already there. Nothing is downloaded here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lip_plugin.data.archives import read_npz
from lip_plugin.data.cifar import read_cifar10, read_cifar100
from lip_plugin.data.find import find_pictures, find_val
from lip_plugin.data.idx import read_idx
from lip_plugin.data.images import ImageSet, checked_image_set
from lip_plugin.data.labelled import LabelledImages
from lip_plugin.data.picture_set import PictureSet
from lip_plugin.data.tiny_imagenet import read_tiny_imagenet
from lip_plugin.errors import DataError, close_matches

Reader = Callable[[Path, str], ImageSet]
IMAGENET = "imagenet"
"""The one data set that is streamed."""

_PREFIX = {"train": "train", "test": "t10k"}
_IDX_CLASSES = 10


def load_image_set(dataset: str, split: str, data_dir: str | Path) -> ImageSet:
    """The "train" or "test" split of a data set, in memory. Raises DataError naming what was looked for."""
    directory = _checked_directory(dataset, split, data_dir)
    if dataset == IMAGENET:
        raise DataError(f"{IMAGENET} is not loaded into memory; read it block by block with load_images")
    return _READERS[dataset](directory, split)


def load_images(
    dataset: str, split: str, data_dir: str | Path, *, workers: int = 0, crop: int = 224, resize: int = 256
) -> LabelledImages:
    """The "train" or "test" split of any data set, read block by block where it does not fit in memory.

    That is "imagenet": class folders or shards as `find_pictures` looks for them, "test" being ``val``;
    ``workers``, ``crop`` and ``resize`` (pixels) are those of `PictureSet` and say nothing about the other
    data sets. Raises DataError naming what was looked for.
    """
    if dataset != IMAGENET:
        return load_image_set(dataset, split, data_dir)
    directory = _checked_directory(dataset, split, data_dir)
    pictures = find_pictures(directory)[0] if split == "train" else find_val(directory)
    folder = "train" if split == "train" else "val"
    source = f"{dataset} {folder} split, shorter side {resize}, {crop}x{crop} in the middle"
    return PictureSet(pictures, dataset, source, split, crop=crop, resize=resize, workers=workers)


def _checked_directory(dataset: str, split: str, data_dir: str | Path) -> Path:
    known = sorted([*_READERS, IMAGENET])
    if dataset not in known:
        raise DataError(
            f"no reader for data set {dataset!r}; known: {', '.join(known)}."
            f"{close_matches(dataset, known)} Use --data FILE.npz for your own images"
        )
    if split not in _PREFIX:
        raise DataError(f"no split {split!r} of {dataset}; expected train or test")
    directory = Path(data_dir)
    if not directory.is_dir():
        raise DataError(f"data directory {directory} does not exist; give the folder that holds the {dataset} files")
    return directory


def load_npz(path: str | Path) -> ImageSet:
    """A user's own images: ``x`` uint8 or float in [0,1], (N, C, H, W), and ``y`` (N,) integers."""
    path = Path(path)
    pixels, labels = read_npz(path, ("x", "y"))
    return checked_image_set(pixels, labels, name=path.stem, source=path.name)


def _idx_reader(dataset: str, folders: tuple[str, ...]) -> Reader:
    def read(directory: Path, split: str) -> ImageSet:
        stems = (f"{_PREFIX[split]}-images-idx3-ubyte", f"{_PREFIX[split]}-labels-idx1-ubyte")
        images, labels = (read_idx(_find(directory, folders, stem, dataset)) for stem in stems)
        source = f"{dataset} {split} split"
        return checked_image_set(images, labels, name=dataset, source=source, split=split, num_classes=_IDX_CLASSES)

    return read


def _find(directory: Path, folders: tuple[str, ...], stem: str, dataset: str) -> Path:
    candidates = [directory / folder / f"{stem}{ending}" for folder in folders for ending in ("", ".gz")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DataError(
        f"no {stem}[.gz] in {directory} (nor in {', '.join(folders[1:])}); that is not a {dataset} directory"
    )


_READERS: dict[str, Reader] = {
    "fashion_mnist": _idx_reader("fashion_mnist", (".", "FashionMNIST/raw")),
    "mnist": _idx_reader("mnist", (".", "MNIST/raw")),
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "tiny_imagenet": read_tiny_imagenet,
}
