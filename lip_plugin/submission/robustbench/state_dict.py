"""The weights as RobustBench loads them: a state dict of the network in plain torch."""

from __future__ import annotations

import io

import torch
from torch import Tensor

from lip_plugin.errors import ConfigError
from lip_plugin.network import CertifiedClassifier
from lip_plugin.submission.robustbench.blocks import state_names
from lip_plugin.untrusted import few


def plain_state_dict(model: CertifiedClassifier) -> dict[str, Tensor]:
    """Names of `architecture_source` -> tensors of their own on the CPU."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for layer, names in zip(model.layers, state_names(model), strict=True)
        for name, value in zip(names, layer.tensors().values(), strict=True)
    }


def state_dict_bytes(model: CertifiedClassifier) -> bytes:
    """A file for `torch.load` with ``weights_only=True``; equal weights give equal bytes under one release of torch.

    Raises ConfigError where RobustBench could not load it, UnsupportedLayerError for an operator without a plain form.
    """
    state = plain_state_dict(model)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    validate_state_dict(content, state)
    return content


def validate_state_dict(content: bytes, expected: dict[str, Tensor]) -> None:
    """Raise ConfigError unless these bytes load, by RobustBench's own rule for names, as what is expected."""
    loaded = torch.load(io.BytesIO(content), weights_only=True)
    read = [as_robustbench_reads(name) for name in loaded]
    if read != list(expected):
        raise ConfigError(f"RobustBench would read the names {few(read)} where {few(expected)} are expected")
    for name, value in loaded.items():
        if value.dtype != expected[name].dtype or not torch.equal(value, expected[name]):
            raise ConfigError(f"the state dict does not hold the weights of {name}")


def as_robustbench_reads(name: str) -> str:
    """A name with either word in it, wherever that is, loses as many characters at its beginning."""
    for word in ("module.", "model."):
        name = name[len(word) :] if word in name else name
    return name
