"""What a training run is, as validated data: recipes are YAML files, overrides are ``key=value``."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lip_plugin.errors import ConfigError, close_matches
from lip_plugin.zoo import Provenance
from lip_plugin.zoo.card import Name

_RECIPES = resources.files("lip_plugin.train") / "recipes"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(_Strict):
    """An architecture and its sizes. Widths are even."""

    architecture: Literal["liresnet", "liresnet_pp"] = "liresnet_pp"
    depth: int = Field(default=4, ge=1)
    width: int = Field(default=32, ge=2, multiple_of=2)
    dense_width: int = Field(default=512, ge=2, multiple_of=2)
    dense_depth: int = Field(default=2, ge=0)
    neck_patch: int = Field(default=4, ge=1)


class AugmentConfig(_Strict):
    """Random shift by up to ``crop`` pixels, horizontal flip, RandAugment with a probability per image.

    ``crop`` does not concern streamed pictures: see `PictureConfig`.
    """

    crop: int = Field(default=2, ge=0)
    flip: bool = True
    rand_augment: float = Field(default=0.0, ge=0, le=1)


class PictureConfig(_Strict):
    """Sides in pixels for data sets that are streamed. Pictures are resized by their shorter side.

    In training to one drawn from ``train_resize``, then a random crop; in evaluation to ``test_resize``,
    then the middle. ``workers`` processes decode, 0 is the training process itself.
    """

    crop: int = Field(default=224, ge=8)
    train_resize: tuple[int, int] = (224, 288)
    test_resize: int = 256
    workers: int = Field(default=8, ge=0)

    @model_validator(mode="after")
    def _crop_fits(self) -> PictureConfig:
        low, high = self.train_resize
        if not self.crop <= low <= high or self.test_resize < self.crop:
            raise ValueError(f"expected crop {self.crop} <= train_resize {low} <= {high} and <= test_resize")
        return self


class GeneratedConfig(_Strict):
    """Generated images mixed in: an .npz with ``image`` and ``label``, ``ratio`` of them per real one."""

    path: str
    ratio: float = Field(default=3.0, gt=0)
    augment: AugmentConfig = AugmentConfig(crop=2, flip=True)


class TrainConfig(_Strict):
    """One EMMA run. eps is the L2 radius in [0,1] pixels that the ramp is relative to."""

    dataset: Literal["fashion_mnist", "mnist", "cifar10", "cifar100", "tiny_imagenet", "imagenet"]
    data_dir: str | None = None
    download: bool = False
    """Let torchvision put the official files into ``data_dir`` first, where they are missing."""
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    pictures: PictureConfig = PictureConfig()
    generated: GeneratedConfig | None = None
    eps: float = Field(gt=0)
    eps_ramp: tuple[float, float] = (0.1, 1.5)
    epochs: int = Field(ge=1)
    batch_size: int = Field(default=256, ge=1)
    loss: Literal["emma", "margin", "logit_annealing", "gloro_trades", "cross_entropy"] = "emma"
    optimiser: Literal["adamw", "nadam"] = "adamw"
    lookahead: bool = False
    learning_rate: float = Field(default=1e-3, gt=0, le=1e30)  # AdamW itself fails above 3e37
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    gradient_clip: float = Field(default=3.0, gt=0)
    weight_average: float = Field(default=0.0, ge=0, lt=1)
    bfloat16: bool | Literal["auto"] = False
    """The forward in bfloat16; "auto" where the device has instructions for it."""
    compile: bool = False
    """The forward through torch.compile; needs a C++ compiler on a CPU."""
    device: str = "cpu"
    checkpoint_seconds: float = Field(default=60.0, gt=0)
    """A checkpoint is also written within an epoch, at the first step after this time."""
    seed: int = Field(default=0, ge=0)
    held_out: int = Field(default=0, ge=0)
    """Training images kept aside and reported on after every epoch; 0 trains on all of them."""
    eps_grid: tuple[float, ...] = ()
    name: Name = "model"
    card: Provenance = Provenance()


def load_config(recipe: str, overrides: Iterable[str] = ()) -> TrainConfig:
    """A recipe by name or a YAML file, with dotted ``key=value`` overrides. Raises ConfigError."""
    values = _read(recipe)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"override {override!r} is not of the form key=value, for example epochs=1")
        _assign(values, key, _yaml(text, f"override {override!r}"))
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from error


def recipe_names() -> list[str]:
    return sorted(Path(entry.name).stem for entry in _RECIPES.iterdir() if entry.name.endswith(".yaml"))


def _read(recipe: str) -> dict[str, Any]:
    if recipe in recipe_names():
        text = (_RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8")
    elif recipe.endswith((".yaml", ".yml")):
        try:
            text = Path(recipe).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {recipe}: {getattr(error, 'strerror', None) or error}") from error
    else:
        names = recipe_names()
        raise ConfigError(
            f"no recipe {recipe!r};{close_matches(recipe, names)} known: {', '.join(names)}; or give a .yaml file"
        )
    values = _yaml(text, recipe)
    if not isinstance(values, dict):
        raise ConfigError(f"{recipe} is not a YAML mapping of settings")
    return values


def _yaml(text: str, origin: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin} is not valid YAML: {str(error).splitlines()[0]}") from error


def _assign(values: dict[str, Any], dotted: str, value: Any) -> None:
    *groups, key = dotted.split(".")
    for group in groups:
        child = values.setdefault(group, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{dotted}: {group} is a value, not a group of settings")
        values = child
    values[key] = value


_GROUPS: dict[str, type[BaseModel]] = {
    "model": ModelConfig,
    "augment": AugmentConfig,
    "pictures": PictureConfig,
    "generated": GeneratedConfig,
    "card": Provenance,
}


def _first_problem(error: ValidationError) -> str:
    """One line: the key, what came, what was expected, and the nearest valid key for a typo."""
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] != "extra_forbidden":
        return f"setting {key}: {problem['msg'].removeprefix('Value error, ')}, got {problem['input']!r}"
    group = _GROUPS.get(path[0], TrainConfig) if len(path) > 1 else TrainConfig
    return (
        f"unknown setting {key!r};{close_matches(path[-1], group.model_fields)} known: {', '.join(group.model_fields)}"
    )
