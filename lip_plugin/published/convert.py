"""`lp.from_published`: strict conversion of a published state dict into a plain network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lip_plugin.errors import CheckpointError, ConfigError, close_matches
from lip_plugin.models import CertifiableModel, freeze
from lip_plugin.network import CertifiedClassifier
from lip_plugin.published.hu23 import hu23_model
from lip_plugin.published.liresnet_pp import liresnet_pp_model

Builder = Callable[[Mapping[str, Any], Mapping[str, Tensor]], CertifiableModel]

_BUILDERS: dict[str, Builder] = {"hu23": hu23_model, "liresnet_pp": liresnet_pp_model}


def from_published(
    implementation: str, config: Mapping[str, Any], state_dict: Mapping[str, Tensor]
) -> CertifiedClassifier:
    """Convert a checkpoint of "hu23" (NeurIPS 2023 code) or "liresnet_pp" (ICLR 2024 code).

    Keeps the dtype. Identity buffers are verified, iteration vectors and cached evaluation weights are
    discarded, any other extra or missing key is refused. Raises CheckpointError and ConfigError.
    """
    builder = _BUILDERS.get(implementation)
    if builder is None:
        raise ConfigError(
            f"no converter for {implementation!r};{close_matches(implementation, _BUILDERS)} "
            f"known: {', '.join(_BUILDERS)}"
        )
    dtypes = {value.dtype for value in state_dict.values()}
    if len(dtypes) != 1 or not dtypes <= {torch.float32, torch.float64}:
        raise CheckpointError(
            f"the state dict mixes dtypes {sorted(map(str, dtypes))}; expected float32 or float64 alone"
        )
    return freeze(builder(config, state_dict))
