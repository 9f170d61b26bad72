"""Libraries that only some data sets need."""

from __future__ import annotations

import importlib
from typing import Any

from lip_plugin.errors import MissingDependencyError

EXTRA = "train"


def require(module: str) -> Any:
    """Import a library of the extra ``train``. Raises MissingDependencyError, which names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{module} cannot be imported ({error}); install it with: pip install 'lip-plugin[{EXTRA}]'"
        ) from error
