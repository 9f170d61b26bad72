"""Every body runs on the CPU at toy size, and on a GPU where there is one: `pytest -m cuda` runs the latter alone."""

from __future__ import annotations

from collections.abc import Generator

import pytest
import torch
from torch import Tensor

import lip_plugin as lp
from lip_plugin.data import load_shipped

_CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is false: no GPU to test"),
    ],
)


@pytest.fixture(scope="module", params=["cpu", _CUDA])
def device(request: pytest.FixtureRequest) -> str:
    """Where the body runs."""
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def float32_as_such() -> Generator[None]:
    """What the command line sets for a GPU; torch's default is TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def demo() -> lp.CertifiedClassifier:
    """The shipped demo model on the CPU: the reference."""
    return lp.load_model("LipPlugin2026_LiResNet_Demo")


@pytest.fixture(scope="module")
def images(device: str, demo: lp.CertifiedClassifier) -> tuple[Tensor, Tensor]:
    """(N, 1, 28, 28) float32 and (N,) int64 on the CPU: few for a CPU, all shipped ones for a GPU."""
    shipped = load_shipped("fashion_mnist")
    return (shipped.first(12) if device == "cpu" else shipped).tensors(demo.dtype)
