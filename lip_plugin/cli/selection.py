"""Which model and which images a command is about."""

from __future__ import annotations

from pathlib import Path

from lip_plugin.data import LabelledImages, load_images, load_npz, load_shipped, shipped_datasets
from lip_plugin.devices import keep_float32
from lip_plugin.errors import ConfigError, DataError
from lip_plugin.network import CertifiedClassifier
from lip_plugin.types import parse_eps_grid
from lip_plugin.zoo import ModelCard, find_model
from lip_plugin.zoo.load import load_model

DEMO_MODEL = "LipPlugin2026_LiResNet_Demo"
_DEFAULT_GRID = ("36/255", "72/255", "108/255")


def select_model(name: str | None, dataset: str | None, device: str | None) -> tuple[CertifiedClassifier, ModelCard]:
    """The named model or directory; the shipped demo where there is no name. Raises as `lp.load_model`."""
    directory, card = find_model(DEMO_MODEL if name is None else name, dataset=dataset)
    model = load_model(directory, device=device)
    keep_float32(model.device)
    return model, card


def select_images(
    card: ModelCard, data_dir: str | None, data_file: str | None, count: int | None, workers: int = 0
) -> LabelledImages:
    """--data FILE, --data-dir DIR, or the shipped slice of the model's data set. Raises DataError, ConfigError.

    Pictures of any size are resized so that the network's input is the middle 7/8 of the shorter side:
    256 pixels for a network of 224.
    """
    if data_dir is not None and data_file is not None:
        raise ConfigError("--data-dir and --data exclude each other; give one of them")
    if data_file is not None:
        return load_npz(data_file).first(count)
    if data_dir is not None:
        if card.dataset is None:
            raise ConfigError(f"the card of {card.name} names no data set; give your images with --data FILE.npz")
        crop = card.input_shape[-1]
        resize = round(crop * 8 / 7)
        return load_images(card.dataset, "test", Path(data_dir), workers=workers, crop=crop, resize=resize).first(count)
    if card.dataset not in shipped_datasets():
        raise DataError(f"no images of {card.dataset} are shipped; give --data-dir DIR or --data FILE.npz")
    return load_shipped(card.dataset).first(count)


def select_eps(card: ModelCard, eps: str | None) -> tuple[float, ...]:
    """--eps as a comma-separated list, else the card's grid, else 36, 72 and 108 over 255. Raises ConfigError."""
    if eps is not None:
        return parse_eps_grid(eps.split(","))
    return parse_eps_grid(card.eps_grid or _DEFAULT_GRID)
