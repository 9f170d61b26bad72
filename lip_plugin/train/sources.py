"""From a config and its training images to batches."""

from __future__ import annotations

import torch

from lip_plugin.data import ImageSet
from lip_plugin.errors import ConfigError
from lip_plugin.ranks import Ranks
from lip_plugin.train.augment import Augmentation
from lip_plugin.train.batches import BatchSource, DeviceBatches
from lip_plugin.train.config import TrainConfig
from lip_plugin.train.mixing import MixedBatches, generated_per_batch, load_generated
from lip_plugin.train.splits import TrainingData
from lip_plugin.train.streaming import StreamedBatches


def image_shape(config: TrainConfig, data: TrainingData) -> tuple[int, int, int]:
    """(C, H, W) of what the network sees."""
    return data.image_shape if isinstance(data, ImageSet) else (3, config.pictures.crop, config.pictures.crop)


def class_count(data: TrainingData) -> int:
    """Classes of the data set; of unnamed images as many as their labels reach."""
    if isinstance(data, ImageSet):
        return int(data.labels.max()) + 1 if data.num_classes is None else data.num_classes
    return len(data.classes)


def batch_source(config: TrainConfig, data: TrainingData, ranks: Ranks) -> BatchSource:
    """The real images, with generated ones mixed in where the config names some. Raises ConfigError, DataError."""
    real = _real(config, data, ranks)
    if config.generated is None:
        return real
    made = load_generated(config.generated.path, image_shape=image_shape(config, data), num_classes=class_count(data))
    extra = generated_per_batch(config.batch_size, config.generated.ratio)
    return MixedBatches(real, made, extra, Augmentation(**config.generated.augment.model_dump()), config.seed, ranks)


def _real(config: TrainConfig, data: TrainingData, ranks: Ranks) -> BatchSource:
    if len(data) < config.batch_size:
        raise ConfigError(f"training needs at least one batch of {config.batch_size}, got {len(data)} images")
    if not isinstance(data, ImageSet):
        return StreamedBatches(
            data,
            batch_size=config.batch_size,
            sizes=config.pictures,
            augment=config.augment,
            seed=config.seed,
            device=config.device,
            ranks=ranks,
        )
    if data.pixels.dtype != "uint8":
        raise ConfigError(f"training needs uint8 images, got {data.pixels.dtype}")
    images, labels = torch.from_numpy(data.pixels.copy()), torch.from_numpy(data.labels.copy())
    augmentation = Augmentation(**config.augment.model_dump())
    device = torch.device(config.device)
    return DeviceBatches(images.to(device), labels.to(device), config.batch_size, augmentation, config.seed, ranks)
