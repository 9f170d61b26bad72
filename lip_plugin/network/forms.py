"""What to do with the forms in which people bring networks, images and labels: one way each, for error messages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

_TENSORS = {
    "ndarray": "torch.from_numpy(...) makes one of it",
    "Image": "torchvision's to_tensor makes one of it; stack several",
    "DataLoader": "give its batches one by one",
    "TensorDataset": "give its tensors",
    "list": "torch.stack or torch.tensor makes one of it",
    "tuple": "give images and labels apart",
    "dict": "give the tensor in it",
    "str": "read the file first",
}


def way_to_tensor(value: object) -> str:
    """``": torch.from_numpy(...) makes one of it"``, or nothing where nothing is known of the type."""
    way = _TENSORS.get(type(value).__name__)
    return f": {way}" if way else ""


def way_to_model(value: object) -> str:
    """``"load it by lp.load_model first"`` for a name; modules are frozen or wrapped, state dicts loaded before."""
    if isinstance(value, str | Path):
        return "load it by lp.load_model first"
    if isinstance(value, Mapping):
        return "load a state dict into its module (module.load_state_dict), then use lp.wrap"
    if isinstance(value, nn.Module):
        return "use lp.freeze or lp.wrap first"
    return "give a torch module to lp.wrap first"


def way_to_module(value: object) -> str:
    """What makes a torch module of something else."""
    if isinstance(value, str | Path):
        return "load its weights into a module first, or use lp.load_model or lp.from_published"
    if isinstance(value, Mapping):
        return "load a state dict into its module first (module.load_state_dict)"
    return "make an instance" if isinstance(value, type) else "write it as a torch.nn.Module"
