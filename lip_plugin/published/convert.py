"""`lp.from_published`: strict conversion of a published state dict into a plain network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lip_plugin.errors import CheckpointError, ConfigError, UnsupportedLayerError, close_matches
from lip_plugin.models import CertifiableModel, freeze
from lip_plugin.network import CertifiedClassifier
from lip_plugin.published.entries import check_entries
from lip_plugin.published.hu23 import hu23_model
from lip_plugin.published.liresnet_pp import liresnet_pp_model
from lip_plugin.untrusted import printable

Builder = Callable[[Mapping[str, Any], Mapping[str, Tensor]], CertifiableModel]

_BUILDERS: dict[str, Builder] = {"hu23": hu23_model, "liresnet_pp": liresnet_pp_model}


def from_published(
    implementation: str, config: Mapping[str, Any], state_dict: Mapping[str, Tensor]
) -> CertifiedClassifier:
    """Convert a checkpoint of "hu23" (NeurIPS 2023 code) or "liresnet_pp" (ICLR 2024 code).

    Keeps the dtype. Identity buffers are verified, iteration vectors and cached evaluation weights are
    discarded, any other extra or missing key is refused. Raises CheckpointError and ConfigError.
    """
    builder = _BUILDERS.get(str(implementation))
    if builder is None:
        name = printable(str(implementation), longest=80)
        raise ConfigError(f"no converter for '{name}';{close_matches(name, _BUILDERS)} known: {', '.join(_BUILDERS)}")
    if not isinstance(config, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"the config is a {type(config).__name__}; expected sizes under names")
    check_entries(state_dict)
    model = builder(config, state_dict)
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
