"""Forged model directories, the way a stranger would make them, and what it means that one is refused."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import struct
from collections.abc import Callable, Generator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import lip_plugin as lp
from lip_plugin.cli import run
from lip_plugin.network import (
    Activation,
    AvgPool,
    CertifiedClassifier,
    Conv,
    Dense,
    Flatten,
    Head,
    L2Pool,
    MinMax,
    Offset,
    Operator,
)

Card = dict[str, Any]
Array = NDArray[np.floating[Any]]
SECONDS = 30
CODES = {"float32": "F32", "float64": "F64"}
_DIGEST = re.compile(r"digest is ([0-9a-f]{64})")


@pytest.fixture(autouse=True)
def quickly() -> Generator[None]:
    """Nothing that a stranger writes may hang: also a blocking system call ends here."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"still running after {SECONDS} s")

    former = signal.signal(signal.SIGALRM, stop)
    restart_clock()
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


def restart_clock() -> None:
    """For a test of many examples, each of which has the time of a test."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)


def safetensors_bytes(header: object, data: bytes) -> bytes:
    """A weights file with any header at all."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def packed(tensors: dict[str, Array]) -> tuple[dict[str, Any], bytes]:
    """Honest header and data."""
    header: dict[str, Any] = {}
    data = b""
    for name, value in tensors.items():
        content = np.ascontiguousarray(value).tobytes()
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": CODES[str(value.dtype)], "shape": list(value.shape), "data_offsets": offsets}
        data += content
    return header, data


@dataclass
class Forge:
    """A directory whose card and tensors can be changed and then signed anew, as whoever changes them would do."""

    directory: Path
    card: Card
    tensors: dict[str, Array] = field(default_factory=dict)

    def first(self, kind: str) -> Card:
        return next(layer for layer in self.card["network"] if layer["kind"] == kind)

    def write(self, *, weights: bytes | None = None, card: bytes | None = None) -> Path:
        """Weights and card as they are now, or raw bytes in their place; the card's sha256 is always right."""
        content = safetensors_bytes(*packed(self.tensors)) if weights is None else weights
        self.card["sha256"] = hashlib.sha256(content).hexdigest()
        (self.directory / "model.safetensors").write_bytes(content)
        (self.directory / "card.json").write_bytes(json.dumps(self.card).encode() if card is None else card)
        return self.directory

    def sign(self, *, weights: bytes | None = None) -> Path:
        """As `write`, with the digest that the loader asks for: no hash stands in the way of a forged model."""
        self.write(weights=weights)
        try:
            lp.load_model(self.directory)
        except lp.ChecksumError as error:
            found = _DIGEST.search(str(error))
            self.card["digest"] = found.group(1) if found else self.card["digest"]
        except lp.LipPluginError:
            pass
        return self.write(weights=weights)

    def copy(self) -> Forge:
        """Another forgery of the same directory."""
        return Forge(self.directory, deepcopy(self.card), {name: value.copy() for name, value in self.tensors.items()})


def _operators(dtype: torch.dtype) -> list[Operator]:
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return [
        Offset(torch.tensor(-0.5, dtype=dtype)),
        Conv(0.4 * randn(4, 2, 3, 3), 0.1 * randn(4), padding=(1, 1, 1, 1)),
        MinMax(),
        Conv(0.5 * randn(4, 2, 2, 2), stride=(1, 2), padding=(1, 0, 1, 0), groups=2, padding_mode="circular"),
        Activation("leaky_relu", 0.2),
        AvgPool((2, 1), (2, 1)),
        L2Pool((1, 3)),
        Flatten(),
        Dense(0.4 * randn(6, 12), 0.1 * randn(6)),
        MinMax(),
        Head(randn(3, 6), 0.1 * randn(3)),
    ]


def small_network(dtype: torch.dtype = torch.float64) -> CertifiedClassifier:
    """(2, 6, 6) images, 3 classes, most operator kinds."""
    *operators, head = _operators(dtype)
    assert isinstance(head, Head)
    return CertifiedClassifier(operators, head, input_shape=(2, 6, 6))


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """An honest small float64 model, ready to be tampered with."""
    return make_forge(small_network(), tmp_path / "model")


@pytest.fixture
def forged(tmp_path: Path) -> Callable[[CertifiedClassifier], Forge]:
    """A forge of any network."""
    return lambda model: make_forge(model, tmp_path / "own")


@pytest.fixture
def raw_weights() -> Callable[[object, bytes], bytes]:
    """`safetensors_bytes`"""
    return safetensors_bytes


@pytest.fixture
def pack() -> Callable[[dict[str, Array]], tuple[dict[str, Any], bytes]]:
    """`packed`"""
    return packed


def make_forge(model: CertifiedClassifier, directory: Path) -> Forge:
    model.save(directory)
    card = json.loads((directory / "card.json").read_text())
    tensors = {name: value.numpy().copy() for name, value in model.named_buffers()}
    return Forge(directory, card, tensors)


Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """refused(directory, *fragments): `lp.load_model` and `lip certify` both say so in one plain line."""
    images = tmp_path / "images.npz"
    np.savez(images, x=np.full((2, 2, 6, 6), 0.5), y=np.zeros(2, int))

    def check(directory: Path, *fragments: str) -> str:
        with pytest.raises((lp.CheckpointError, lp.ChecksumError)) as caught:
            lp.load_model(directory)
        line = str(caught.value)
        assert line.isprintable(), line
        assert len(line) < 1200, line
        assert all(fragment in line for fragment in fragments), line
        capsys.readouterr()
        code = run(["certify", str(directory), "--data", str(images)])
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), err
        assert err.count("\n") == 1, err
        assert err[:-1].isprintable(), err
        return line

    return check
