"""The forward through torch.compile, with its failures in one line."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lip_plugin.errors import ConfigError


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model's forward, compiled at the first call. The model itself stays as it is and shares its parameters.

    The function raises ConfigError where the compiler fails, on a CPU for want of a C++ compiler.
    """
    function: Any = torch.compile(model)
    failures: type[Exception] = importlib.import_module("torch._dynamo.exc").TorchDynamoException

    def forward(x: Tensor) -> Tensor:
        try:
            out: Tensor = function(x)
        except failures as error:
            cause = getattr(error, "inner_exception", error)  # what the backend said, without the frame around it
            reason = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
            raise ConfigError(f"torch.compile failed ({reason}); train with compile=false") from error
        return out

    return forward
