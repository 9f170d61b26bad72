"""The weights as RobustBench loads them: a state dict of the network in plain torch."""

from __future__ import annotations

import io

import torch
from torch import Tensor

from lip_plugin.network import CertifiedClassifier
from lip_plugin.submission.robustbench.blocks import state_names


def plain_state_dict(model: CertifiedClassifier) -> dict[str, Tensor]:
    """Names of `architecture_source` -> tensors of their own on the CPU."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for layer, names in zip(model.layers, state_names(model), strict=True)
        for name, value in zip(names, layer.tensors().values(), strict=True)
    }


def state_dict_bytes(model: CertifiedClassifier) -> bytes:
    """A file for `torch.load` with ``weights_only=True``; equal weights give equal bytes under one release of torch.

    Raises UnsupportedLayerError for an operator without a plain form.
    """
    buffer = io.BytesIO()
    torch.save(plain_state_dict(model), buffer)
    return buffer.getvalue()
