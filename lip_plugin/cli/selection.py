"""Which model and which images a command is about."""

from __future__ import annotations

import logging

from lip_plugin.cli.options import ImageOptions
from lip_plugin.data import LabelledImages, load_images, load_shipped, shipped_datasets
from lip_plugin.data.own import FORMS, open_images, parse_images
from lip_plugin.data.readers import Cut
from lip_plugin.devices import keep_float32
from lip_plugin.errors import ConfigError, DataError
from lip_plugin.network import CertifiedClassifier
from lip_plugin.types import parse_eps_grid
from lip_plugin.zoo import ModelCard, find_model
from lip_plugin.zoo.load import load_model

logger = logging.getLogger(__name__)

DEMO_MODEL = "LipPlugin2026_LiResNet_Demo"
_LEVELS_FROM = 4  # published radii for pixels in [0,1] end at 3
_DEFAULT_GRID = ("36/255", "72/255", "108/255")


def select_model(name: str | None, dataset: str | None, device: str | None) -> tuple[CertifiedClassifier, ModelCard]:
    """The named model or directory; the shipped demo where there is no name. Raises as `lp.load_model`."""
    directory, card = find_model(DEMO_MODEL if name is None else name, dataset=dataset)
    model = load_model(directory, device=device)
    keep_float32(model.device)
    return model, card


def select_images(card: ModelCard, options: ImageOptions) -> LabelledImages:
    """Of --data, of --data-dir, or of the shipped slice of the model's data set. Raises DataError, ConfigError.

    Pictures of any size are resized so that the network's input is the middle 7/8 of the shorter side:
    256 pixels for a network of 224.
    """
    return options.selection.of(_all_images(card, options))


def _all_images(card: ModelCard, options: ImageOptions) -> LabelledImages:
    crop, directory = card.input_shape[-1], options.data_dir
    cut = Cut(crop, round(crop * 8 / 7), options.workers, channels=card.input_shape[0])
    own = None if options.data is None else parse_images(options.data)
    if own is not None:
        if directory is not None:
            raise ConfigError(
                "--data-dir and --data exclude each other; give one of them, or --data NAME of a data set"
            )
        return open_images(own).images("test", cut, card.class_names)
    name = options.data or card.dataset
    if name is None:
        raise ConfigError(f"the card of {card.name} names no data set; give your images: --data {FORMS}")
    if directory is not None:
        return load_images(name, "test", directory, workers=cut.workers, crop=cut.crop, resize=cut.resize)
    if name not in shipped_datasets():
        raise DataError(f"no images of {name} are shipped; give --data-dir DIR, or your own with --data {FORMS}")
    return load_shipped(name)


def select_eps(card: ModelCard, eps: str | None) -> tuple[float, ...]:
    """--eps as a comma-separated list, else the card's grid, else 36, 72 and 108 over 255. Raises ConfigError."""
    if eps is not None:
        return typed_eps(eps)
    return parse_eps_grid(card.eps_grid or _DEFAULT_GRID)


def typed_eps(text: str) -> tuple[float, ...]:
    """--eps as a comma-separated list; asks where somebody may have counted in levels of 255. Raises ConfigError."""
    words = text.split(",")
    grid = parse_eps_grid(words)
    for word in words:
        if word.strip().isdecimal() and int(word) >= _LEVELS_FROM:
            logger.warning("eps %s is a radius for pixels in [0,1]; did you mean %s/255?", word.strip(), word.strip())
    return grid
