"""Downloads by torchvision. Only ever on request: nothing else in this package calls this."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lip_plugin.data.optional import require
from lip_plugin.errors import DataError, close_matches

_TORCHVISION_NAMES = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
}


def downloadable_datasets() -> list[str]:
    return sorted(_TORCHVISION_NAMES)


def download_image_set(dataset: str, data_dir: str | Path) -> None:
    """Put both splits' official files, with torchvision's MD5 sums, where ``load_image_set`` finds them.

    What is there already is kept. Raises DataError; MissingDependencyError without torchvision.
    """
    if dataset not in _TORCHVISION_NAMES:
        raise DataError(
            f"cannot download {dataset!r}; known: {', '.join(downloadable_datasets())}."
            f"{close_matches(dataset, _TORCHVISION_NAMES)}"
        )
    datasets: Any = require("torchvision.datasets")
    try:
        getattr(datasets, _TORCHVISION_NAMES[dataset])(root=str(data_dir), download=True)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"cannot download {dataset} to {data_dir}: {reason}") from error
