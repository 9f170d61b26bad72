"""Products and memory of code that runs on tensors without numbers: whatever the size, in seconds."""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from lip_plugin.cost.flops import Flops

_aten = torch.ops.aten


class DryRun(TorchDispatchMode):
    """Inside it, tensors have shapes and no numbers, nothing is computed, and what would be is counted.

    ``flops``: what torch's flop counter knows, products of matrices and convolutions, of complex numbers four times as
    many; Cholesky factorisations, solutions and Fourier transforms by their leading term. Other decompositions and
    entrywise work are none. ``held`` and ``peak``: bytes of all tensors made
    inside that are alive, now and at most since `restart`; what a kernel needs for itself is not among them.

    Code that asks for a number is told 0.5, or 0 where it is whole or a truth value, and that no entry is nonzero. What
    asks for more raises as torch does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops: Flops = Counter()
        self.held = self.peak = 0
        self._storages = set[int]()
        self._shapes_alone = FakeTensorMode()

    def __enter__(self) -> DryRun:
        self._shapes_alone.__enter__()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._shapes_alone.__exit__(kind, error, trace)

    def restart(self) -> None:
        """Count from here on. What is held stays."""
        self.flops, self.peak = Counter(), self.held

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        answer = _ANSWERS.get(func)
        result = func(*args, **(kwargs or {})) if answer is None else answer(args[0])
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        packet = func.overloadpacket
        if packet in flop_registry:
            dtype, flops = made[0].dtype, flop_registry[packet](*args, **(kwargs or {}), out_val=result)
            self.flops[dtype.to_real()] += flops * (4 if dtype.is_complex else 1)
        elif packet in _FORMULAS:
            self.flops[made[0].dtype.to_real()] += _FORMULAS[packet](*args)
        for tensor in made:
            self._hold(tensor)
        return result

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()  # pyright: ignore[reportPrivateUsage]
        if key not in self._storages:
            self._storages.add(key)
            self.held += size
            self.peak = max(self.peak, self.held)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._storages.remove(key)
        self.held -= size


def _number(value: Tensor) -> float:
    return 0.5 if value.dtype.is_floating_point else 0


def _nowhere(value: Tensor) -> Tensor:
    return value.new_empty((0, value.dim()), dtype=torch.int64)


def _cholesky(matrix: Tensor, *_: Any) -> int:
    return _real_products(matrix) * matrix.numel() * matrix.shape[-1] // 3


def _triangular(matrix: Tensor, right: Tensor, *_: Any) -> int:
    return _real_products(matrix) * right.numel() * matrix.shape[-1]


def _solution(matrix: Tensor, right: Tensor, *_: Any) -> int:
    size = matrix.shape[-1]
    return _real_products(matrix) * (2 * matrix.numel() * size // 3 + 2 * right.numel() * size)


def _transform(x: Tensor, axes: list[int], *_: Any) -> int:
    """5 n log n of complex numbers, half of it for real ones."""
    points = math.prod(x.shape[axis] for axis in axes)
    return round((5 if x.is_complex() else 2.5) * x.numel() * math.log2(max(2, points)))


def _real_products(matrix: Tensor) -> int:
    return 4 if matrix.is_complex() else 1


_ANSWERS: dict[Any, Callable[[Tensor], Any]] = {
    _aten._local_scalar_dense.default: _number,
    _aten.nonzero.default: _nowhere,
}
_FORMULAS: dict[Any, Callable[..., int]] = {
    _aten.linalg_cholesky_ex: _cholesky,
    _aten.linalg_solve_triangular: _triangular,
    _aten._linalg_solve_ex: _solution,
    _aten._fft_r2c: _transform,
    _aten._fft_c2c: _transform,
    _aten._fft_c2r: _transform,
}
