"""`lp.from_published`: strict conversion of a published state dict into a plain network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lip_plugin.errors import CheckpointError, ConfigError, UnsupportedLayerError
from lip_plugin.models import freeze
from lip_plugin.network import CertifiedClassifier
from lip_plugin.published.implementation import get_implementation
from lip_plugin.published.unwrap import unwrapped


def from_published(
    implementation: str, config: Mapping[str, Any], state_dict: Mapping[str, Any], *, key: str | None = None
) -> CertifiedClassifier:
    """Convert a checkpoint of "hu23" (NeurIPS 2023), "liresnet_pp" (ICLR 2024), "bronet" (ICML 2025) or another name.

    ``state_dict`` may be what a training script saves: the weights under ``state_dict`` or ``model``, under
    ``module.`` or ``_orig_mod.``, in two parts, with counters beside them. Where several networks are in it,
    ``key`` chooses. Keeps the dtype; half precision is refused. Identity buffers are verified, iteration vectors
    and cached evaluation weights are discarded, any other extra or missing key is refused. Raises CheckpointError
    and ConfigError.

        state = torch.load("last.pt", weights_only=True)
        model = lp.from_published("hu23", {"depth": 12, "width": 512, "input_size": 32, "num_classes": 10}, state)
    """
    converter = get_implementation(str(implementation))
    if not isinstance(config, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"the config is a {type(config).__name__}; expected sizes under names")
    return converted(
        implementation, config, unwrapped(state_dict, converter.needed, key=None if key is None else str(key))
    )


def converted(implementation: str, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> CertifiedClassifier:
    """The same from a state dict that `unwrapped` has found."""
    model = get_implementation(implementation).build(config, state)
    try:
        classifier = freeze(model)
    except (UnsupportedLayerError, RuntimeError) as error:  # a Cholesky factorisation that does not exist
        raise CheckpointError(
            f"these weights of {implementation!r} do not merge into a network: {str(error).splitlines()[0]}"
        ) from error
    if not all(bool(torch.isfinite(value).all()) for value in classifier.buffers()):
        raise CheckpointError(
            f"these weights of {implementation!r} overflow where they are merged; nothing is certified"
        )
    return classifier
