"""Data sets by name from a directory that is already there. Nothing is downloaded here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lip_plugin.data.archives import read_npz
from lip_plugin.data.cifar import read_cifar10, read_cifar100
from lip_plugin.data.idx import read_idx
from lip_plugin.data.images import ImageSet, checked_image_set
from lip_plugin.data.tiny_imagenet import read_tiny_imagenet
from lip_plugin.errors import DataError, close_matches

Reader = Callable[[Path, str], ImageSet]
_PREFIX = {"train": "train", "test": "t10k"}


def load_image_set(dataset: str, split: str, data_dir: str | Path) -> ImageSet:
    """The "train" or "test" split of a data set. Raises DataError naming what was looked for."""
    reader = _READERS.get(dataset)
    if reader is None:
        raise DataError(
            f"no reader for data set {dataset!r}; known: {', '.join(sorted(_READERS))}."
            f"{close_matches(dataset, _READERS)} Use --data FILE.npz for your own images"
        )
    directory = Path(data_dir)
    if not directory.is_dir():
        raise DataError(f"data directory {directory} does not exist; give the folder that holds the {dataset} files")
    return reader(directory, split)


def load_npz(path: str | Path) -> ImageSet:
    """A user's own images: ``x`` uint8 or float in [0,1], (N, C, H, W), and ``y`` (N,) integers."""
    path = Path(path)
    pixels, labels = read_npz(path, ("x", "y"))
    return checked_image_set(pixels, labels, name=path.stem, source=path.name)


def _idx_reader(dataset: str, folders: tuple[str, ...]) -> Reader:
    def read(directory: Path, split: str) -> ImageSet:
        stems = (f"{_PREFIX[split]}-images-idx3-ubyte", f"{_PREFIX[split]}-labels-idx1-ubyte")
        images, labels = (read_idx(_find(directory, folders, stem, dataset)) for stem in stems)
        return checked_image_set(images, labels, name=dataset, source=f"{dataset} {split} split", split=split)

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
