"""What a training run is, as validated data: recipes are YAML files, overrides are ``key=value``."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from lip_plugin.data import dataset_names
from lip_plugin.errors import CheckpointError, ConfigError, close_matches
from lip_plugin.types import LARGEST_EPS
from lip_plugin.untrusted import printable, read_regular
from lip_plugin.untrusted.settings import LARGEST_SETTINGS, parse_settings
from lip_plugin.zoo import Provenance
from lip_plugin.zoo.card import Eps, Name

_RECIPES = resources.files("lip_plugin.train") / "recipes"
_SHOWN = 120
_DEEPEST = 4
# A card cannot hold more (network/limits.py): better said before training than after.
_LARGEST_WEIGHTS = 2**31
_LAYERS = 1024


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads ``yes`` and ``on`` as true, pydantic takes true for 1: ``epochs: on`` would be one epoch."""
        wanted = cls.model_fields[info.field_name or ""].annotation
        given: list[Any] = value if isinstance(value, list) else [value]
        if wanted is not bool and bool not in get_args(wanted) and any(isinstance(one, bool) for one in given):
            raise ValueError("expected no true, false, yes, no, on or off")
        return value


class ModelConfig(_Strict):
    """An architecture and its sizes. Widths are even."""

    architecture: Literal["liresnet", "liresnet_pp"] = "liresnet_pp"
    depth: int = Field(default=4, ge=1)
    width: int = Field(default=32, ge=2, multiple_of=2)
    dense_width: int = Field(default=512, ge=2, multiple_of=2)
    dense_depth: int = Field(default=2, ge=0)
    neck_patch: int = Field(default=4, ge=1, le=1024)

    @model_validator(mode="after")
    def _can_be_stored(self) -> ModelConfig:
        weights = self.depth * 9 * self.width**2 + self.dense_depth * self.dense_width**2
        if weights > _LARGEST_WEIGHTS or self.depth + self.dense_depth > _LAYERS:
            raise ValueError(f"more than {_LARGEST_WEIGHTS} weights or {_LAYERS} layers; no such model can be stored")
        return self


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

    dataset: Name
    """A name of the catalogue: see `lip list --datasets`."""
    data_dir: str | None = None
    download: bool = False
    """Let torchvision put the official files into ``data_dir`` first, where they are missing."""
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    pictures: PictureConfig = PictureConfig()
    generated: GeneratedConfig | None = None
    eps: float = Field(gt=0, le=LARGEST_EPS)
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
    eps_grid: tuple[Eps, ...] = Field(default=(), max_length=64)
    name: Name = "model"
    card: Provenance = Provenance()

    @field_validator("dataset")
    @classmethod
    def _is_known(cls, name: str) -> str:
        known = dataset_names()
        if name not in known:
            raise ValueError(f"no such data set; known: {', '.join(known)}.{close_matches(name[:_SHOWN], known)}")
        return name


def load_config(recipe: str, overrides: Iterable[str] = ()) -> TrainConfig:
    """A recipe by name or a YAML file, with dotted ``key=value`` overrides. Raises ConfigError."""
    values = _read(recipe)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"override {_shown(override)} is not of the form key=value, for example epochs=1")
        _assign(values, key, parse_settings(text, f"override {_shown(override)}"))
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
        return f"setting {key}: {problem['msg'].removeprefix('Value error, ')}, got {_shown(problem['input'])}"
    group = _GROUPS.get(path[0], TrainConfig) if len(path) > 1 else TrainConfig
    matches = close_matches(path[-1][:_SHOWN], group.model_fields)
    return f"unknown setting {_shown(key)};{matches} known: {', '.join(group.model_fields)}"


def _shown(value: object) -> str:
    """In a message: what a stranger wrote is as long as a stranger likes."""
    return printable(repr(value), longest=_SHOWN)
