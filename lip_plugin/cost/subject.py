"""What ``lip cost`` is asked about: a recipe with its settings, or a model that exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lip_plugin.cost.flops import Speed, seconds_estimate
from lip_plugin.cost.network import NetworkCost, cost_of_architecture, cost_of_model
from lip_plugin.cost.step import StepCost, step_cost
from lip_plugin.data import DataSet, find_dataset
from lip_plugin.errors import ConfigError
from lip_plugin.train.config import TrainConfig, load_config, recipe_names
from lip_plugin.train.mixing import generated_per_batch
from lip_plugin.types import ImageShape
from lip_plugin.zoo import load_model


@dataclass(frozen=True)
class Subject:
    """A network and, of a recipe, the training step that leads to it."""

    description: str
    input_shape: ImageShape
    network: NetworkCost
    step: StepCost | None = None
    config: TrainConfig | None = None
    processes: int = 1

    def training_seconds_estimate(self, images: int, speed: Speed) -> float:
        """All epochs over so many real images. Raises ConfigError where this is no recipe."""
        if self.step is None or self.config is None:
            raise ConfigError(f"{self.description} is no recipe and has no training; give a recipe")
        steps = self.config.epochs * (images // self.config.batch_size)
        return steps * seconds_estimate(self.step.flops(self.step.batch), speed)


def subject_of(name: str, overrides: Sequence[str] = (), *, processes: int = 1) -> Subject:
    """A recipe by name or file with ``key=value`` overrides, else a zoo name or model directory.

    Raises ConfigError, UnknownModelError, CheckpointError, ChecksumError.
    """
    if name in recipe_names() or name.endswith((".yaml", ".yml")):
        return _of_recipe(load_config(name, overrides), processes)
    if overrides:
        raise ConfigError(f"{overrides[0]!r}: {name} is a model and has no settings to override; leave it out")
    model = load_model(name)
    return Subject(model.name, model.input_shape, cost_of_model(model), processes=processes)


def _of_recipe(config: TrainConfig, processes: int) -> Subject:
    made = 0 if config.generated is None else generated_per_batch(config.batch_size, config.generated.ratio)
    if config.batch_size % processes or made % processes:
        raise ConfigError(f"batch_size={config.batch_size} is not shared by {processes} processes; they must divide it")
    shape, classes = _images(config)
    network = cost_of_architecture(config.model, input_shape=shape, num_classes=classes)
    step = step_cost(config, input_shape=shape, num_classes=classes, batch=(config.batch_size + made) // processes)
    return Subject(config.model.description(), shape, network, step, config, processes)


def _images(config: TrainConfig) -> tuple[ImageShape, int]:
    """(C, H, W) and classes of a known data set: others are known when they have been read."""
    record: DataSet | None = find_dataset(config.dataset)
    if record is None:
        raise ConfigError(
            f"dataset={config.dataset!r} would have to be read for its size; give a data set of lip list --datasets "
            "with images of the same size"
        )
    shape, side = record.image_shape, config.pictures.crop
    return (shape if record.reader.in_memory else (3, side, side)), record.num_classes
