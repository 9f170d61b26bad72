"""The parts of AutoAttack as pyautoattack runs them, many rows at once: images at radii of their own, against targets.

The library attacks one radius and, in its targeted parts, one target after the other: the few images that nothing
breaks are attacked in tiny batches. Here its runs get a radius and a target for each row; a run is the library's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lip_adapters._canvas import on_canvas
from lip_adapters._common import require

Settings = Mapping[str, int]
Search = Callable[[nn.Module, Tensor, Tensor, Tensor, Settings], Tensor]
"""(network, images (B, C, H, W), labels (B,), radii (B,), settings) -> points (B, C, H, W); images where it fails."""

_AT_ONCE, _PIXELS_AT_ONCE = 128, 2**18
"""Rows that targets are stacked to: more are no faster, and large images fill the memory by themselves."""

# Without a logger the library warns through `warnings`.
_SILENT = logging.Logger("pyautoattack")
_SILENT.disabled = True


def apgd(loss: str) -> Search:
    """APGD with this loss; an image that falls is spared further restarts."""

    def search(network: nn.Module, x: Tensor, y: Tensor, eps: Tensor, settings: Settings) -> Tensor:
        attack = _module("autopgd_base").APGDAttack(network, loss=loss, **_apgd_settings(settings, eps))
        attack.init_hyperparam(x)
        found, standing = x.clone(), _predicted(network, x) == y
        for _ in range(settings["n_restarts"]):
            rows = standing.nonzero().squeeze(1)
            if len(rows):
                attack.eps = _per_image(eps[rows])
                _, held, _, points = attack.attack_single_run(x[rows], y[rows])
                fallen = rows[~held]
                found[fallen], standing[fallen] = points[~held], False
        return found

    return search


def apgd_targeted(network: nn.Module, x: Tensor, y: Tensor, eps: Tensor, settings: Settings) -> Tensor:
    """APGD on the targeted DLR loss; an image that falls is spared further targets."""
    attack = _module("autopgd_base").APGDAttack_targeted(network, **_apgd_settings(settings, eps))
    attack.init_hyperparam(x)
    closest = _Closest(x)
    standing = torch.ones_like(y, dtype=torch.bool)
    for rows, targets, _ in _targets(network, x, y, settings, standing):
        attack.eps, attack.y_target = _per_image(eps[rows]), targets
        _, held, _, points = attack.attack_single_run(x[rows], y[rows])
        closest.add(rows, points, ~held)
        standing[rows[~held]] = False
    return closest.points


def fab_targeted(network: nn.Module, x: Tensor, y: Tensor, eps: Tensor, settings: Settings) -> Tensor:
    """FAB towards one target after the other: the closest point of all, at any distance."""
    attack: Any = _fab(network)
    closest = _Closest(x)
    for rows, targets, restart in _targets(network, x, y, settings, torch.ones_like(y, dtype=torch.bool)):
        attack.eps, attack.n_iter = eps[rows], settings["n_iter"]
        points = attack.towards(targets, x[rows], y[rows], use_rand_start=restart > 0)
        closest.add(rows, points, _predicted(network, points) != y[rows])
    return closest.points


def square(network: nn.Module, x: Tensor, y: Tensor, eps: Tensor, settings: Settings) -> Tensor:
    """Square, on a canvas that its start fits; an image that falls is spared further restarts."""

    def on_square(seen: nn.Module, images: Tensor) -> Tensor:
        attack = _square(seen, n_queries=settings["n_queries"], device=x.device)
        attack.init_hyperparam(images)
        found, standing = images.clone(), _predicted(seen, images) == y
        for _ in range(settings["n_restarts"]):
            rows = standing.nonzero().squeeze(1)
            if len(rows):
                attack.eps = _per_image(eps[rows])
                _, points = attack.attack_single_run(images[rows], y[rows])
                fooled = _predicted(seen, points) != y[rows]
                found[rows[fooled]], standing[rows[fooled]] = points[fooled], False
        return found

    return on_canvas(on_square)(network, x)


class _Closest:
    """The closest point so far of each image (B, C, H, W), the image itself without one."""

    def __init__(self, x: Tensor) -> None:
        self._x, self.points = x, x.clone()
        self._distance = torch.full((len(x),), torch.inf, device=x.device)

    def add(self, rows: Tensor, points: Tensor, counts: Tensor) -> None:
        """``points`` (R, C, H, W) of the images ``rows`` (R,), several of the same; those of ``counts`` (R,) count."""
        distance = torch.linalg.vector_norm((points - self._x[rows]).flatten(1), dim=1).masked_fill(~counts, torch.inf)
        order = distance.argsort(descending=True, stable=True)  # the last to be written is the closest
        for row, at in zip(rows[order].tolist(), order.tolist(), strict=True):
            if distance[at] < self._distance[row]:
                self._distance[row], self.points[row] = distance[at], points[at]


def _targets(
    network: nn.Module, x: Tensor, y: Tensor, settings: Settings, standing: Tensor
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Rows (R,) of images that are ``standing`` (B,), the target of each (R,), and the number of the restart.

    Targets are the classes that follow the first in the logits of the image; as many of them at once as make a full
    batch. ``standing`` is looked at again for every batch.
    """
    with torch.no_grad():
        ranked = network(x).argsort(dim=1, descending=True, stable=True)
    standing &= ranked[:, 0] == y
    at_once = min(_AT_ONCE, max(1, _PIXELS_AT_ONCE // x[0].numel()))
    for restart in range(settings["n_restarts"]):
        left = list(range(1, 1 + min(settings["n_target_classes"], ranked.shape[1] - 1)))
        while left and bool(standing.any()):
            rows = standing.nonzero().squeeze(1)
            count = max(1, at_once // len(rows))
            chosen, left = left[:count], left[count:]
            yield rows.repeat(len(chosen)), ranked[rows][:, chosen].T.flatten(), restart


def _apgd_settings(settings: Settings, eps: Tensor) -> dict[str, Any]:
    fixed = {"norm": "L2", "eot_iter": 1, "rho": 0.75, "logger": _SILENT, "seed": 0, "verbose": False}
    return {**fixed, "n_iter": settings["n_iter"], "eps": eps, "device": eps.device}


def _fab(network: nn.Module) -> Any:
    class Towards(_module("fab_pt").FABAttack_PT):  # type: ignore[misc]
        """FAB with a target for each row; the library leaves out the rows that are wrong before it begins."""

        def towards(self, targets: Tensor, x: Tensor, y: Tensor, *, use_rand_start: bool) -> Tensor:
            self.device, self.target_class, self.targets, self.labels, self.kept = x.device, 2, targets, y, None
            points: Tensor = self.attack_single_run(x, y, use_rand_start=use_rand_start, is_targeted=True)
            return points

        def _get_predicted_label(self, x: Tensor) -> Tensor:
            label: Tensor = super()._get_predicted_label(x)
            if self.kept is None:
                self.kept = (label == self.labels).nonzero().squeeze(1)
                self.eps = self.eps[self.kept]
            return label

        def get_diff_logits_grads_batch_targeted(self, imgs: Tensor, la: Tensor, la_target: Tensor) -> Any:
            return super().get_diff_logits_grads_batch_targeted(imgs, la, self.targets[self.kept])

    return Towards(network, norm="L2", targeted=True)


def _square(network: nn.Module, *, n_queries: int, device: torch.device) -> Any:
    class Follows(_module("square").SquareAttack):  # type: ignore[misc]
        """Square with a radius for each row, which goes on with the rows that still stand.

        The patterns that it adds depend on their size alone; the library makes them anew for each query.
        """

        @cache  # noqa: B019  of one run
        def eta_rectangles(self, x: int, y: int) -> Tensor:
            delta: Tensor = super().eta_rectangles(x, y)
            return delta

        def margin_and_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            margin, loss = super().margin_and_loss(x, y)
            # Square divides its images by margin < 0 and margin > 0, and crashes where all that are left sit at 0.
            margin = torch.where(margin == 0, -1e-30, margin)
            self.eps = self.eps[margin > 0]
            return margin, loss

    return Follows(network, norm="L2", n_queries=n_queries, eps=1.0, p_init=0.8, resc_schedule=False, device=device)


def _predicted(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.as_tensor(network(x)).argmax(dim=1)


def _per_image(eps: Tensor) -> Tensor:
    return eps[:, None, None, None]


def _module(name: str) -> Any:
    return require(f"pyautoattack.{name}", "autoattack")
