"""Downloads. Only ever on request: nothing else in this package calls this."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lip_plugin.data.catalogue import find_dataset, list_datasets
from lip_plugin.errors import DataError, close_matches
from lip_plugin.extras import require


def downloadable_datasets() -> list[str]:
    return [record.name for record in list_datasets() if record.download is not None]


def by_torchvision(name: str) -> Callable[[Path], None]:
    """A data set of ``torchvision.datasets``, with its MD5 sums."""

    def download(directory: Path) -> None:
        datasets: Any = require("torchvision.datasets")
        getattr(datasets, name)(root=str(directory), download=True)

    return download


def download_image_set(dataset: str, data_dir: str | Path) -> None:
    """Put both splits' official files where ``load_image_set`` finds them; what is there already is kept.

    Raises DataError; MissingDependencyError without torchvision, where that is what fetches them.
    """
    record = find_dataset(dataset)
    if record is None or record.download is None:
        known = downloadable_datasets()
        raise DataError(f"cannot download {dataset!r}; known: {', '.join(known)}.{close_matches(dataset, known)}")
    try:
        record.download(Path(data_dir))
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"cannot download {dataset} to {data_dir}: {reason}") from error
