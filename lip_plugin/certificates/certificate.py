"""`lp.certify`: a proved L2 radius for every image."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lip_plugin.bounds import effort, row_norms_upper_bound
from lip_plugin.certificates.arithmetic import certifying_arithmetic, require_arithmetic, require_own_surroundings
from lip_plugin.certificates.enclosure import INFLATION, EnclosedForward, Enclosure
from lip_plugin.certificates.inputs import Batches, check_images, images_of_batches
from lip_plugin.certificates.lipschitz import pair_bound, settled_bound, settled_pair_bound
from lip_plugin.certificates.program import FLOAT64, require_program
from lip_plugin.errors import ConfigError, DataError
from lip_plugin.network import CertifiedClassifier, RoundingTerm, inexact_float32, require_unaltered
from lip_plugin.network.limits import images_at_once
from lip_plugin.progress import progress_bar
from lip_plugin.types import Effort, parse_eps

_DEFAULT_BATCH = 256
_UNDERFLOW = 2.0**-1000
_CHUNK_ENTRIES = 2**21
"""Of float64 numbers that the images of a chunk hold at once: larger blocks are given fresh pages by every operator."""
_PREPARED = 2
_PREPARED_WEIGHTS = 2**23

FORWARD_SLACK = 2.0**-10
"""Of an image's largest logit gap: by how much the gaps of ``model(x)`` may be off before it counts as straying."""


@dataclass(frozen=True)
class Certificate:
    """One proved radius per image, (B,) each, on the CPU.

    ``prediction`` int64; ``margin`` float64, a lower bound of the exact gap between the predicted logit
    and the runner-up (negative only where rounding leaves the order open); ``radius`` float64 >= 0: no
    input strictly closer in L2 ([0,1] pixels) is classified differently. 0 certifies nothing, and a
    radius certifies eps only where ``radius > eps``. ``digest`` names the network it speaks about. It holds only as far
    as the code of ``foreign_operators`` is right, operators that other packages brought.

    ``model(x)`` was run on every image too, whatever the arithmetic. ``disagrees`` bool: it gives another label, or
    no number, and the radius is 0. ``strays`` bool: its logit gaps are off by more than `FORWARD_SLACK` of the largest,
    so that it, and gradients through it, say little about the function that is certified.
    """

    prediction: Tensor
    margin: Tensor
    radius: Tensor
    disagrees: Tensor
    strays: Tensor
    arithmetic: str
    digest: str
    foreign_operators: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prediction)

    def certified(self, eps: float | str) -> Tensor:
        """(B,) bool: ``radius > eps``, so that no perturbation of L2 norm up to eps changes the prediction.

        Says nothing about the label. Raises ConfigError for what is no radius.
        """
        return self.radius > parse_eps(eps)

    def joined(self, others: Iterable[Certificate]) -> Certificate:
        """This one and the others, of the same network, one after the other."""
        parts = [self, *others]
        columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in CERTIFICATE_COLUMNS}
        return dataclasses.replace(self, **columns)

    def __repr__(self) -> str:
        told = [f"{len(self):,} image{'' if len(self) == 1 else 's'}"]
        if len(self):
            shown = (self.radius.median(), self.radius.max())
            median, largest = (math.floor(1e4 * float(radius)) / 1e4 for radius in shown)
            told.append(f"radius {median:g} in the median, {largest:g} at most")
        disagreeing = int(self.disagrees.sum())
        told += [f"model(x) DISAGREES on {disagreeing}"] if disagreeing else []
        return f"Certificate({'; '.join(told)}; arithmetic {self.arithmetic}; network {self.digest[:12]})"


CERTIFICATE_COLUMNS = ("prediction", "margin", "radius", "disagrees", "strays")
"""What it says of every image."""

OnBlock = Callable[[Certificate], None]
"""Called with the certificate of a block that is done."""


def certify(
    model: CertifiedClassifier,
    x: Tensor | Batches,
    *,
    arithmetic: str = "real",
    batch_size: int | None = None,
    progress: bool = False,
) -> Certificate:
    """Prove a radius for every image of x (B, C, H, W) in [0,1], or of the batches of a ``DataLoader`` or an iterator.

    Batches are tensors or begin with one, (images, labels); what is found is in the order in which they come, and
    memory does not grow with their number.

    radius = min over i != j of (f_j - f_i) / Lip(f_j - f_i), j the prediction, every step rounded so that
    it can only shrink. ``arithmetic`` "real" speaks of the exact function given by the stored weights;
    "float64" also of the rounding of the float64 program at the image and everywhere in the ball; "float32" the
    same of `float32_program` (float32 storage, float64 inside every operator); "forward" of ``model(x)`` itself, in
    the network's own dtype. Where ``model(x)`` gives another label than the certificate, the radius is 0.
    Raises DataError (shape, range, NaN), ConfigError (arithmetic, ``batch_size`` beside batches), UnsupportedLayerError
    (weights), and whatever ``x`` raises.
    """
    require_unaltered(model)
    require_arithmetic(arithmetic)
    if isinstance(x, DataLoader | Iterator):
        if batch_size is not None:
            raise ConfigError(f"batch_size is for one tensor, got {batch_size!r} beside batches; leave it out")
        blocks, total = images_of_batches(x), None
    else:
        check_images(model, x)
        size = images_at_once(model.layers, model.input_shape, _DEFAULT_BATCH) if batch_size is None else batch_size
        if type(size) is not int or size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size!r}")
        blocks, total = x.split(size) if len(x) else (x,), len(x)
    with progress_bar("certify", total=total, enabled=progress) as advance:
        return certify_blocks(model, blocks, arithmetic=arithmetic, on_block=lambda part: advance(len(part), ""))


def certify_blocks(
    model: CertifiedClassifier,
    blocks: Iterable[Tensor],
    *,
    arithmetic: str = "real",
    on_block: OnBlock = lambda part: None,
) -> Certificate:
    """`certify` for images that come block by block, (B, C, H, W) in [0,1] each, in the order of the blocks.

    The constants are proved once. A block is let go of before the next one is asked for, so that memory does
    not grow with their number. Raises as `certify`, and whatever ``blocks`` raises.
    """
    require_unaltered(model)
    mode = require_arithmetic(arithmetic)
    prepared = _prepared(model, mode)
    own, digest, certifier = prepared.network, prepared.digest, prepared.certifier

    def certified(block: Tensor) -> Certificate:
        if mode == "forward":
            _require_exact_sums(own)
        with certifying_arithmetic():  # entered for every block: what yields the blocks may change settings
            check_images(own, block)
            block = block.detach().to(own.device)
            proved = certifier(block)
        disagrees, strays = _beside(_forward(own, block), proved)
        radius = proved.radius.masked_fill(disagrees, 0.0)
        columns = (column.cpu() for column in (proved.prediction, proved.margin, radius, disagrees, strays))
        part = Certificate(*columns, arithmetic=mode, digest=digest, foreign_operators=own.foreign_operators)
        on_block(part)
        return part

    nothing = torch.empty(0, dtype=torch.float64, device="cpu")
    columns = (nothing.long(), nothing, nothing, nothing.bool(), nothing.bool())
    none = Certificate(*columns, arithmetic=mode, digest=digest, foreign_operators=own.foreign_operators)
    whole = none.joined(map(certified, blocks))  # a loop would hold on to its block while the next one is made
    if not model.is_as(own):
        raise ConfigError("the weights changed while they were being certified; certify again")
    return whole


def _require_exact_sums(model: CertifiedClassifier) -> None:
    """Raises ConfigError where ``model(x)`` is no program of float32 sums: the errors of TF32 can hide in the slack."""
    reason = inexact_float32(model.device) if model.dtype == torch.float32 else None
    if reason is not None:
        raise ConfigError(f"model(x) is not float32 sums of products: torch {reason}, or certify another arithmetic")


def _forward(model: CertifiedClassifier, x: Tensor) -> Tensor:
    """Logits of the very forward that users call, under the settings that the caller has made."""
    require_own_surroundings()
    with torch.no_grad():
        return model(x.to(model.dtype)).double()


@dataclass(frozen=True)
class _Proved:
    """Of a block. ``gap`` (B, K) are the logit gaps as float64 computes them; ``forward_slack`` (B, K) bounds how far
    those of ``model(x)`` can be from them, where that is what is certified.
    """

    prediction: Tensor
    margin: Tensor
    radius: Tensor
    gap: Tensor
    forward_slack: Tensor | None

    @staticmethod
    def joined(parts: Sequence[_Proved]) -> _Proved:
        names = ("prediction", "margin", "radius", "gap")
        slacks = [part.forward_slack for part in parts if part.forward_slack is not None]
        columns = (torch.cat([getattr(part, name) for part in parts]) for name in names)
        return _Proved(*columns, forward_slack=torch.cat(slacks) if slacks else None)


def _beside(forward: Tensor, proved: _Proved) -> tuple[Tensor, Tensor]:
    """(B,) bool each: whether the forward's logits (B, K) give another label, and whether they stray.

    Raises ConfigError where they leave what float32 sums in any order can give: then something else is running.
    """
    prediction = proved.prediction[:, None]
    disagrees = (forward.argmax(dim=1, keepdim=True) != prediction)[:, 0] | ~torch.isfinite(forward).all(dim=1)
    off = ((forward.gather(1, prediction) - forward) - proved.gap).abs()
    strays = ~(off.amax(dim=1) <= FORWARD_SLACK * proved.gap.amax(dim=1))
    if proved.forward_slack is not None and bool(((off > proved.forward_slack).any(dim=1) & (proved.radius > 0)).any()):
        raise ConfigError(
            "model(x) is less exact here than sums in float32 can be: other kernels replace them; "
            "certify another arithmetic, or on the CPU"
        )
    return disagrees, strays | disagrees


@dataclass(frozen=True)
class _Prepared:
    """``network`` is a copy of its own: what is written into the model meanwhile must not be certified as it."""

    network: CertifiedClassifier
    digest: str
    certifier: _Certifier


_memo: deque[tuple[str, Effort, _Prepared]] = deque(maxlen=_PREPARED)


def _prepared(model: CertifiedClassifier, arithmetic: str) -> _Prepared:
    """Of the last few networks that of these very weights, as they are now.

    Those with operators of other packages are not kept: one that hides a setting would pass for another.
    """
    for mode, bounds, found in tuple(_memo):
        if (mode, bounds) == (arithmetic, effort()) and model.is_as(found.network):
            return found
    network = model.copied()
    with certifying_arithmetic():
        found = _Prepared(network, network.digest, _Certifier(network, arithmetic))
    if network.num_parameters <= _PREPARED_WEIGHTS and not network.foreign_operators:
        _memo.append((arithmetic, effort(), found))
    return found


class _Certifier:
    """Everything that depends on the network alone, prepared once."""

    def __init__(self, model: CertifiedClassifier, arithmetic: str) -> None:
        program = require_program(model, arithmetic)
        bound = settled_bound(model)
        self._forward = EnclosedForward(model, bound, program)
        self._head = model.head.map_tensors(torch.Tensor.double)
        device = model.device
        self._pair = settled_pair_bound(model).to(device)
        self._distance = pair_bound(model, 1.0).to(device)
        self._row_norm = row_norms_upper_bound(model.head_weight).to(device)
        self._bias = model.head_bias.double().abs()
        self._rounding = FLOAT64.head(model.head_weight.shape[1])
        self._of_program = None if program is None else program.head(model.head_weight.shape[1])
        self._is_forward = arithmetic == "forward"
        self._largest = 0.0 if program is None else program.largest_logit
        self._chunk = images_at_once(model.layers, model.input_shape, _DEFAULT_BATCH, _CHUNK_ENTRIES)

    def __call__(self, x: Tensor) -> _Proved:
        size = self._chunk if x.device.type == "cpu" else max(1, len(x))
        parts = [self._of_chunk(part) for part in (x.split(size) if len(x) else (x,))]
        return parts[0] if len(parts) == 1 else _Proved.joined(parts)

    def _of_chunk(self, x: Tensor) -> _Proved:
        enclosure = self._forward(x)
        logits = self._head.apply(enclosure.features)
        if not bool(torch.isfinite(logits).all()):
            raise DataError("the network's logits overflow on these images; nothing can be certified")
        prediction = logits.argmax(dim=1, keepdim=True)
        distance, lipschitz = self._distance[prediction[:, 0]], self._pair[prediction[:, 0]]
        gap = logits.gather(1, prediction) - logits
        slack = self._slack(self._rounding, prediction, distance, enclosure.norm, enclosure.error, gap)
        margin = _below(gap - slack)
        allowance, growth = margin, lipschitz
        program, of_program = self._of_program, None
        if program is not None:
            far = enclosure.norm + enclosure.error + enclosure.ball_error
            of_program = self._slack(program, prediction, distance, far, enclosure.ball_error, gap)
            allowance = _below(margin - of_program)
            growth = _above(lipschitz + self._slack_growth(program, prediction, distance, enclosure))
        radius = _quotient_below(allowance, growth)
        # Only the predicted index itself is left out: an equal logit of another class certifies nothing.
        radius = radius.scatter(1, prediction, torch.inf).amin(dim=1)
        if program is not None:
            radius = torch.minimum(torch.minimum(radius, enclosure.ball_limit), self._room(enclosure))
        margin = margin.scatter(1, prediction, torch.inf).amin(dim=1)
        radius = torch.where(radius > 0, radius, 0.0)  # NaN certifies nothing
        forward_slack = of_program + slack if of_program is not None and self._is_forward else None
        return _Proved(prediction[:, 0], margin, radius, gap, forward_slack)

    def _slack(
        self, term: RoundingTerm, prediction: Tensor, distance: Tensor, norm: Tensor, error: Tensor, gap: Tensor
    ) -> Tensor:
        """(B, K) bound of |computed gap - exact gap|: features' error, both dot products, their difference."""
        pair_norm = self._row_norm[prediction] + self._row_norm
        pair_bias = self._bias[prediction] + self._bias
        rounding = term.relative * (pair_norm * norm[:, None] + pair_bias + gap.abs()) + term.absolute
        return (distance * error[:, None] + rounding) * INFLATION + _UNDERFLOW

    def _room(self, enclosure: Enclosure) -> Tensor:
        """(B,) the distance within which no logit, nor a partial sum of it, overflows."""
        far = enclosure.norm + enclosure.error + enclosure.ball_error
        room = self._largest - self._row_norm.max() * far - self._bias.max()
        growth = self._row_norm.max() * (self._forward.reach + enclosure.ball_slope)
        return room.clamp_min(0.0) / (growth * INFLATION).clamp_min(1.0)

    def _slack_growth(self, term: RoundingTerm, prediction: Tensor, distance: Tensor, enclosure: Enclosure) -> Tensor:
        """(B, K) by how much the slack grows per unit of distance from the image."""
        slope = enclosure.ball_slope[:, None]
        pair_norm = self._row_norm[prediction] + self._row_norm
        return (distance * slope + term.relative * pair_norm * (self._forward.reach + slope)) * INFLATION


def _below(x: Tensor) -> Tensor:
    return torch.nextafter(x, torch.full_like(x, -torch.inf))


def _above(x: Tensor) -> Tensor:
    return torch.nextafter(x, torch.full_like(x, torch.inf))


def _quotient_below(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator rounded down; 0 where the numerator is not positive, 0/0 included."""
    quotient = _below(numerator / denominator)
    return torch.where(numerator > 0, quotient, torch.zeros_like(quotient))
