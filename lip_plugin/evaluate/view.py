"""What a foreign attack library gets to see of a network: logits, and a count of how many it asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lip_plugin.evaluate.programs import ProgramName
from lip_plugin.network import CertifiedClassifier, float64_function


class AttackView(nn.Module):
    """Logits of a frozen network, times a positive scale, optionally shifted to be at least 1.

    Neither changes a prediction. Cross-entropy attacks need logits of a useful size (margins of 1-Lipschitz
    networks are tiny: the softmax is flat; large ones underflow), and some attacks compare with zero.
    ``program`` is what is attacked; float64 logits are given in the dtype of the images, less their maximum.
    """

    def __init__(
        self,
        model: CertifiedClassifier,
        *,
        program: ProgramName = "forward",
        scale: float = 1.0,
        positive: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.program: ProgramName = program
        self._logits = model if program == "forward" else _relative(float64_function(model))
        self.scale, self.positive = scale, positive
        self.forwards = 0
        # Libraries read the device off the first parameter.
        self.device_probe = nn.Parameter(torch.zeros(1, device=model.device), requires_grad=False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.count(len(x))
        logits: Tensor = self._logits(x) * self.scale
        shown = logits - logits.amin(dim=1, keepdim=True).detach() + 1.0 if self.positive else logits
        return shown.to(x.dtype)

    def count(self, images: int) -> None:
        """Add to ``forwards``."""
        self.forwards += images

    @property
    def num_classes(self) -> int:
        return self.model.num_classes

    def rescaled(self, x: Tensor, *, median_margin: float = 8.0, positive: bool = False) -> AttackView:
        """A view whose median margin on these images is about ``median_margin``; its forwards count here too."""
        with torch.no_grad():
            top = self._logits(x).topk(2, dim=1).values
        self.count(len(x))
        margin = float((top[:, 0] - top[:, 1]).median())
        scale = median_margin / margin if margin > 0 else 1.0
        return _Sibling(self, scale=min(max(scale, 1e-6), 1e6), positive=positive)

    def shifted(self) -> AttackView:
        """A view with positive logits; its forwards count here too."""
        return _Sibling(self, scale=self.scale, positive=True)


def _relative(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Differences to the largest logit: what float32 can still tell of logits that lie far from zero."""

    def logits(x: Tensor) -> Tensor:
        values = function(x)
        return values - values.amax(dim=1, keepdim=True).detach()

    return logits


class _Sibling(AttackView):
    """Another view of the same network that reports its forwards to the first."""

    def __init__(self, parent: AttackView, *, scale: float, positive: bool) -> None:
        super().__init__(parent.model, program=parent.program, scale=scale, positive=positive)
        self.__dict__["parent"] = parent  # not a submodule: the parent already holds the network

    def count(self, images: int) -> None:
        super().count(images)
        parent: AttackView = self.__dict__["parent"]
        parent.count(images)
