"""What a training run is, as validated data: recipes are YAML files, overrides are ``key=value``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from lip_plugin.data.own import parse_images
from lip_plugin.errors import CheckpointError, ConfigError, LipPluginError, close_matches
from lip_plugin.models.architecture import ArchitectureConfig, architecture_config, class_of_settings
from lip_plugin.schema.kinds import Eps, Line, PlainName
from lip_plugin.train.checkpoint import load_checkpoint
from lip_plugin.train.former import settings_of_today
from lip_plugin.types import LARGEST_EPS, parse_eps
from lip_plugin.untrusted import printable, read_regular
from lip_plugin.untrusted.settings import LARGEST_SETTINGS, parse_settings
from lip_plugin.untrusted.strict import StrictSettings
from lip_plugin.zoo import Provenance

_RECIPES = resources.files("lip_plugin.train") / "recipes"
_SHOWN = 120
_DEEPEST = 4
_MOST_WORKERS = 8


def _radius(value: object) -> object:
    """36/255 as YAML and the command line give it, a text."""
    if not isinstance(value, str):
        return value
    try:
        return parse_eps(value)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _radii(value: object) -> object:
    """``eps_grid=36/255,72/255``, as ``--eps`` takes them; one radius is a grid too."""
    if isinstance(value, str):
        return value.split(",")
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


_Radius = BeforeValidator(_radius)


class AugmentConfig(StrictSettings):
    """Random shift by up to ``crop`` pixels, horizontal flip, RandAugment with a probability per image.

    ``crop`` does not concern streamed pictures: see `PictureConfig`.
    """

    crop: int = Field(default=2, ge=0)
    flip: bool = True
    rand_augment: float = Field(default=0.0, ge=0, le=1)


def _workers() -> int:
    """More than cores start slowly, and torch warns of them."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(_MOST_WORKERS, os.cpu_count() or 1 if affinity is None else len(affinity(0)))


class PictureConfig(StrictSettings):
    """Sides in pixels for data sets that are streamed. Pictures are resized by their shorter side.

    In training to one drawn from ``train_resize``, then a random crop; in evaluation to ``test_resize``,
    then the middle. ``workers`` processes decode, 0 is the training process itself; one per core by default, 8 at most.
    """

    crop: int = Field(default=224, ge=8)
    train_resize: tuple[int, int] = (224, 288)
    test_resize: int = 256
    workers: int = Field(default_factory=_workers, ge=0)

    @model_validator(mode="after")
    def _crop_fits(self) -> PictureConfig:
        low, high = self.train_resize
        if not self.crop <= low <= high or self.test_resize < self.crop:
            raise ValueError(f"expected crop {self.crop} <= train_resize {low} <= {high} and <= test_resize")
        return self


class GeneratedConfig(StrictSettings):
    """Generated images mixed in: an .npz with ``image`` and ``label``, ``ratio`` of them per real one."""

    path: str
    ratio: float = Field(default=3.0, gt=0)
    augment: AugmentConfig = AugmentConfig(crop=2, flip=True)


class AnnealingConfig(StrictSettings):
    """Of the loss `logit_annealing`: see there. The published values for every data set."""

    offset: float = Field(default=2.0, ge=0, le=1e6)
    temperature: float = Field(default=0.75, gt=0, le=1e6)
    beta: float = Field(default=5.0, ge=0, le=1e6)


class TrainConfig(StrictSettings):
    """One EMMA run. eps is an L2 radius in [0,1] pixels, 0.25 or 36/255; ``eps_ramp`` are factors of it."""

    dataset: Line
    """A name of the catalogue (see `lip list --datasets`), or your own images: ``folder:DIR?size=32``, ``npz:FILE``."""
    data_dir: str | None = None
    download: bool = False
    """Let torchvision put the official files into ``data_dir`` first, where they are missing."""
    model: SerializeAsAny[ArchitectureConfig] = Field(default_factory=lambda: architecture_config({}))
    """Of the architecture that its entry ``architecture`` names, with the settings of that one alone."""
    augment: AugmentConfig = AugmentConfig()
    pictures: PictureConfig = Field(default_factory=PictureConfig)
    generated: GeneratedConfig | None = None
    eps: Annotated[float, Field(gt=0, le=LARGEST_EPS), _Radius]
    eps_ramp: tuple[float, float] = (0.1, 1.5)
    epochs: int = Field(ge=1)
    batch_size: int = Field(default=256, ge=1)
    loss: Literal["emma", "margin", "logit_annealing", "gloro_trades", "cross_entropy"] = "emma"
    temperature: float = Field(default=1.0, gt=0, le=1e6)
    """The loss is that of logits and Lipschitz constants divided by it: below 1 for networks of norm 1."""
    optimiser: Literal["adamw", "nadam"] = "adamw"
    lookahead: bool = False
    learning_rate: float = Field(default=1e-3, gt=0, le=1e30)  # AdamW itself fails above 3e37
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    gradient_clip: float = Field(default=3.0, gt=0)
    weight_average: float = Field(default=0.0, ge=0, lt=1)
    bfloat16: bool | Literal["auto"] = False
    """The forward in bfloat16; "auto" where that is quicker on the device."""
    compile: bool = False
    """The forward through torch.compile; needs a C++ compiler on a CPU."""
    device: str = "cpu"
    checkpoint_seconds: float = Field(default=60.0, gt=0)
    """A checkpoint is also written within an epoch, at the first step after this time."""
    seed: int = Field(default=0, ge=0)
    start: Line | None = None
    """A model that `lip train` has made, by name or directory, whose parameters this run begins with instead of random
    ones. What is held out here may have been trained on there."""
    held_out: int = Field(default=0, ge=0)
    """Training images kept aside and reported on after every epoch; 0 trains on all of them."""
    annealing: AnnealingConfig = AnnealingConfig()
    eps_grid: Annotated[tuple[Annotated[Eps, _Radius], ...], Field(max_length=64), BeforeValidator(_radii)] = ()
    """The radii of the card's figures; where none is given 36, 72 and 108 over 255, and ``eps``."""
    name: PlainName = "model"
    card: Provenance = Provenance()

    @field_validator("dataset")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            parse_images(name)
        except LipPluginError as error:
            raise ConfigError(f"setting dataset: {error}") from error
        return name

    @field_validator("model", mode="before")
    @classmethod
    def _of_its_architecture(cls, value: Any) -> ArchitectureConfig:
        if isinstance(value, ArchitectureConfig):
            return value
        if not isinstance(value, dict):
            raise ValueError("expected the settings of an architecture")
        try:
            return architecture_config(cast("dict[str, Any]", value))
        except ConfigError as error:
            raise ConfigError(f"setting model.architecture: {error}") from error


def load_config(recipe: str, overrides: Iterable[str] = (), *, resumed: Path | None = None) -> TrainConfig:
    """A recipe by name or a YAML file, with dotted ``key=value`` overrides. Raises ConfigError.

    ``resumed`` is the directory of a run to go on with: where an earlier version started it, settings that
    this version had ignored are dropped. Raises CheckpointError where there is no such run.
    """
    values, changes = _read(recipe), [_change(override) for override in overrides]
    if recipe in recipe_names() and dict(changes).get("dataset", values["dataset"]) != values["dataset"]:
        values.get("card", {}).pop("licence", None)  # it tells of the images that the recipe is for
    for key, value in changes:
        _assign(values, key, value)
    if resumed is not None:
        values = settings_of_today(values, started_with=load_checkpoint(resumed).get("config"))
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, values)) from error


def recipe_names() -> list[str]:
    return sorted(Path(entry.name).stem for entry in _RECIPES.iterdir() if entry.name.endswith(".yaml"))


def _read(recipe: str) -> dict[str, Any]:
    if recipe in recipe_names():
        text = (_RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8")
    elif recipe.endswith((".yaml", ".yml")):
        try:
            text = read_regular(Path(recipe), limit=LARGEST_SETTINGS, links=True).decode("utf-8")
        except (OSError, UnicodeDecodeError, CheckpointError) as error:
            raise ConfigError(f"cannot read {recipe}: {getattr(error, 'strerror', None) or error}") from error
    else:
        names = recipe_names()
        raise ConfigError(
            f"no recipe {_shown(recipe)};{close_matches(recipe[:_SHOWN], names)} known: {', '.join(names)}; "
            "or give a .yaml file"
        )
    values = parse_settings(text, recipe)
    if not isinstance(values, dict):
        raise ConfigError(f"{recipe} is not a YAML mapping of settings")
    return values


def _change(override: str) -> tuple[str, Any]:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {_shown(override)} is not of the form key=value, for example epochs=1")
    return key, parse_settings(text, f"override {_shown(override)}")


def _assign(values: dict[str, Any], dotted: str, value: Any) -> None:
    *groups, key = dotted.split(".")
    if len(groups) > _DEEPEST:
        raise ConfigError(f"override {_shown(dotted)} is {len(groups)} groups deep; expected {_DEEPEST} at most")
    for group in groups:
        child = values.setdefault(group, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{_shown(dotted)}: {_shown(group)} is a value, not a group of settings")
        values = child
    values[key] = value


_GROUPS: dict[str, type[BaseModel]] = {
    "augment": AugmentConfig,
    "pictures": PictureConfig,
    "generated": GeneratedConfig,
    "annealing": AnnealingConfig,
    "card": Provenance,
}


def _first_problem(error: ValidationError, values: Mapping[str, Any]) -> str:
    """One line: the key, what came, what was expected, and the nearest valid key for a typo."""
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] != "extra_forbidden":
        return f"setting {key}: {problem['msg'].removeprefix('Value error, ')}, got {_shown(problem['input'])}"
    group = _group(path, values)
    matches = close_matches(path[-1][:_SHOWN], group.model_fields)
    return f"unknown setting {_shown(key)};{matches} known: {', '.join(group.model_fields)}"


def _group(path: list[str], values: Mapping[str, Any]) -> type[BaseModel]:
    """The class whose settings stand beside the one at ``path``."""
    if len(path) == 1:
        return TrainConfig
    return class_of_settings(values["model"]) if path[0] == "model" else _GROUPS.get(path[0], TrainConfig)


def _shown(value: object) -> str:
    """In a message: what a stranger wrote is as long as a stranger likes."""
    return printable(repr(value), longest=_SHOWN)
