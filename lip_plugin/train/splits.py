"""The images of a run: what is trained on, what is kept aside, and the test split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lip_plugin.data import ImageSet, LabelledImages, PictureSet, PictureSource, download_image_set, load_images
from lip_plugin.data.own import OwnImages, open_images, parse_images
from lip_plugin.data.readers import Cut
from lip_plugin.errors import ConfigError, DataError
from lip_plugin.train.config import TrainConfig

_HELD_OUT_SEED = 1

TrainingData = ImageSet | PictureSource
"""Images that are augmented in memory, or pictures that are decoded as they are needed."""


@dataclass(frozen=True)
class Splits:
    """``held_out`` images are training images that the run does not train on; None without any."""

    training: TrainingData
    held_out: LabelledImages | None
    test: LabelledImages


def load_splits(config: TrainConfig) -> Splits:
    """Raises ConfigError (data_dir, held_out) and DataError."""
    own = parse_images(config.dataset)
    everything, test = _of_the_catalogue(config) if own is None else _own(config, open_images(own))
    training, held_out = split_held_out(everything, config.held_out)
    return Splits(training.pictures if isinstance(training, PictureSet) else _in_memory(training), held_out, test)


def _of_the_catalogue(config: TrainConfig) -> tuple[LabelledImages, LabelledImages]:
    if config.data_dir is None:
        raise ConfigError(f"data_dir is missing; add data_dir=DIR with the {config.dataset} files")
    sizes, directory = config.pictures, Path(config.data_dir)
    if config.download:
        download_image_set(config.dataset, directory)
    train, test = (
        load_images(config.dataset, split, directory, workers=sizes.workers, crop=sizes.crop, resize=sizes.test_resize)
        for split in ("train", "test")
    )
    return train, test


def _own(config: TrainConfig, own: OwnImages) -> tuple[LabelledImages, LabelledImages]:
    if config.data_dir is not None or config.download:
        raise ConfigError(
            f"data_dir and download are for data sets by name; {config.dataset} says where its images are"
        )
    sizes = config.pictures
    cut = Cut(sizes.crop, sizes.test_resize, sizes.workers)
    train, test = (own.images(split, cut) for split in ("train", "test"))
    beyond = int(test.labels.max())
    if train.num_classes is None and beyond > int(train.labels.max()):
        raise DataError(f"{test.source}: label {beyond} occurs in no training image of {train.source}")
    return train, test


def split_held_out(data: LabelledImages, count: int) -> tuple[LabelledImages, LabelledImages | None]:
    """(training part, ``count`` images drawn once and for all), or everything and None for count 0."""
    if count == 0:
        return data, None
    if count >= len(data):
        raise ConfigError(f"held_out={count} leaves nothing to train on; {data.source} has {len(data)} images")
    order = np.random.default_rng(_HELD_OUT_SEED).permutation(len(data))
    return data.part(np.sort(order[count:])), data.part(np.sort(order[:count]))


def _in_memory(data: LabelledImages) -> ImageSet:
    if not isinstance(data, ImageSet):
        raise ConfigError(f"cannot train on a {type(data).__name__}; expected an ImageSet or a PictureSet")
    return data
