"""Small trainable models whose every parameter and buffer is random."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lip_plugin.models import CertifiableModel, LiResNet, LiResNetPP


@pytest.fixture(scope="session")
def randomised() -> Callable[..., CertifiableModel]:
    """randomised(model, seed=0): the model in float64 with no parameter or buffer left at its initial value."""

    def change(model: CertifiableModel, seed: int = 0) -> CertifiableModel:
        generator = torch.Generator().manual_seed(seed)
        model.double()
        with torch.no_grad():
            for value in [*model.parameters(), *model.buffers()]:
                value += 0.1 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        return model

    return change


@pytest.fixture(params=["liresnet", "liresnet_pp"])
def small_model(request: pytest.FixtureRequest, randomised: Callable[..., CertifiableModel]) -> CertifiableModel:
    """Both architectures on (1, 28, 28), in float64 and training mode."""
    torch.manual_seed(0)
    if request.param == "liresnet":
        return randomised(LiResNet(input_shape=(1, 28, 28), num_classes=4, depth=2, width=4, dense_width=6))
    return randomised(
        LiResNetPP(input_shape=(1, 28, 28), num_classes=4, depth=2, width=4, dense_width=6, dense_depth=2)
    )
