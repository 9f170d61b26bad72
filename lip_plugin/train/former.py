"""Runs that earlier versions have started: what their settings mean today. All of it is in this file.

Version 0.1.0 had one class of settings for both of its architectures and ignored those that belong to the other one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_IGNORED = {"liresnet": ("dense_depth", "neck_patch")}
"""Architecture -> settings of its section ``model`` that 0.1.0 accepted, wrote down and did not use."""

_ADDED: dict[str, Any] = {
    "temperature": 1.0,
    "start": None,
    "annealing": {"offset": 2.0, "temperature": 0.75, "beta": 5.0},
}
"""Settings that came later, with the value that earlier runs had."""

_ADDED_TO_MODEL: dict[str, dict[str, Any]] = {
    "liresnet_pp": {"stem": "conv"},
    "comparison": {"downsampling": "patches", "matrix": "cholesky"},
}
"""The same of the section ``model``, by architecture."""


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The decisive settings of a run that any earlier version has started, as this version writes them."""
    known = without_ignored(settings)
    model = known.get("model")
    if isinstance(model, Mapping):
        known["model"] = {**_ADDED_TO_MODEL.get(str(model.get("architecture")), {}), **model}
    return {**_ADDED, **known}


def without_ignored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that 0.1.0 may have started, as this version writes them."""
    model = settings.get("model")
    if not isinstance(model, Mapping):
        return dict(settings)
    ignored = _IGNORED.get(str(model.get("architecture")), ())
    return {**settings, "model": {key: value for key, value in model.items() if key not in ignored}}


def settings_of_today(values: Mapping[str, Any], *, started_with: object) -> dict[str, Any]:
    """The settings to resume a run with. ``started_with`` is the config in its checkpoint.

    Only where that one holds ignored settings has 0.1.0 started the run, and may its recipe hold them too.
    """
    former = isinstance(started_with, Mapping) and without_ignored(started_with) != started_with
    return without_ignored(values) if former else dict(values)
