"""Weights files whose header, offsets or entries lie. The sha256 in the card is always right."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import lip_plugin as lp

Refused = Callable[..., str]
Header = dict[str, Any]
Pack = Callable[[dict[str, Any]], tuple[Header, bytes]]
RawWeights = Callable[[object, bytes], bytes]
NAME = "01_weight"


def _overlap(header: Header) -> None:
    """The head's weight reads the dense layer's bytes; its own bytes stay unread."""
    header["10_weight"]["data_offsets"] = [header["08_weight"]["data_offsets"][0]] * 2
    header["10_weight"]["data_offsets"][1] += 3 * 6 * 8


def _shift(header: Header, by: int) -> None:
    header[NAME]["data_offsets"] = [offset + by for offset in header[NAME]["data_offsets"]]


def _last(header: Header) -> Header:
    return max(header.values(), key=lambda entry: entry["data_offsets"][1])


HEADERS: dict[str, Callable[[Header], object]] = {
    "overlapping offsets": _overlap,
    "shifted offsets": lambda header: _shift(header, 8),
    "negative offsets": lambda header: _shift(header, -10_000),
    "offsets beyond the file": lambda header: _shift(header, 2**40),
    "offsets beyond 64 bits": lambda header: _shift(header, 2**64),
    "reversed offsets": lambda header: header[NAME]["data_offsets"].reverse(),
    "three offsets": lambda header: header[NAME]["data_offsets"].append(0),
    "offsets as floats": lambda header: header[NAME].update(data_offsets=[8.0, 584.0]),
    "offsets as flags": lambda header: header[NAME].update(data_offsets=[False, True]),
    "no offsets": lambda header: header[NAME].pop("data_offsets"),
    "data that nobody reads": lambda header: header.pop("10_bias"),
    "wrong dtype": lambda header: header[NAME].update(dtype="F32"),
    "integer dtype": lambda header: header[NAME].update(dtype="I64"),
    "complex dtype": lambda header: header[NAME].update(dtype="C64"),
    "unknown dtype": lambda header: header[NAME].update(dtype="\u001b[2J"),
    "dtype as a list": lambda header: header[NAME].update(dtype=["F64"]),
    "transposed shape": lambda header: header["08_weight"].update(shape=[12, 6]),
    "flattened shape": lambda header: header[NAME].update(shape=[72]),
    "shape with a further one": lambda header: header[NAME].update(shape=[4, 2, 3, 3, 1]),
    "shape of terabytes": lambda header: header[NAME].update(shape=[2**20, 2**20, 3, 3]),
    "shape that overflows to the right size": lambda header: header[NAME].update(shape=[2**63, 2, 1, 36]),
    "shape with a zero": lambda header: header[NAME].update(shape=[0, 2, 3, 3]),
    "negative shape": lambda header: header[NAME].update(shape=[-4, -2, 3, 3]),
    "shape as text": lambda header: header[NAME].update(shape="4233"),
    "extra entry": lambda header: header[NAME].update(url="https://example.org"),
    "renamed tensor": lambda header: header.update({"weights": header.pop(NAME)}),
    "tensor as a number": lambda header: header.update({NAME: 1}),
    "code in the metadata": lambda header: header.update(__metadata__={"run": 1}),
    "last tensor beyond the end": lambda header: _last(header)["data_offsets"].__setitem__(1, 10**6),
}


@pytest.mark.parametrize("name", HEADERS)
def test_tampered_header(name: str, forge: Any, refused: Refused, pack: Pack, raw_weights: RawWeights) -> None:
    header, data = pack(forge.tensors)
    HEADERS[name](header)
    refused(forge.sign(weights=raw_weights(header, data)))


def _text(header: Header) -> str:
    return json.dumps(header)


FILES: dict[str, Callable[[Header, bytes], bytes]] = {
    "empty file": lambda header, data: b"",
    "length alone": lambda header, data: struct.pack("<Q", 16),
    "header beyond the file": lambda header, data: struct.pack("<Q", 2**40) + _text(header).encode() + data,
    "header beyond 63 bits": lambda header, data: struct.pack("<Q", 2**64 - 1) + _text(header).encode() + data,
    "no header": lambda header, data: struct.pack("<Q", 0) + data,
    "header cut": lambda header, data: struct.pack("<Q", 100) + _text(header).encode()[:100] + data,
    "header of spaces": lambda header, data: struct.pack("<Q", 5 * 2**20) + b" " * 5 * 2**20 + data,
    "header of other encoding": lambda header, data: struct.pack("<Q", 4) + b"\xff\xfe{}" + data,
    "header as a list": lambda header, data: struct.pack("<Q", 2) + b"[]" + data,
    "deep header": lambda header, data: struct.pack("<Q", 200_000) + b"[" * 100_000 + b"]" * 100_000 + data,
    "repeated tensor": lambda header, data: _file(_text(header)[:-1] + f', "{NAME}": {_text(header[NAME])}}}', data),
    "repeated dtype": lambda header, data: _file(_text(header).replace('"dtype"', '"dtype": "F64", "dtype"', 1), data),
    "trailing byte": lambda header, data: _file(_text(header), data + b"\0"),
    "trailing megabyte": lambda header, data: _file(_text(header), data + bytes(2**20)),
    "missing byte": lambda header, data: _file(_text(header), data[:-1]),
    "no data": lambda header, data: _file(_text(header), b""),
    "pickle": lambda header, data: pickle.dumps({"weights": [1.0]}),
    "torch file": lambda header, data: _torch_file(),
    "numpy archive": lambda header, data: _numpy_file(),
}  # fmt: skip


def _file(header: str, data: bytes) -> bytes:
    return struct.pack("<Q", len(header.encode())) + header.encode() + data


def _torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, buffer)
    return buffer.getvalue()


def _numpy_file() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weight=np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize("name", FILES)
def test_tampered_file(name: str, forge: Any, refused: Refused, pack: Pack) -> None:
    refused(forge.sign(weights=FILES[name](*pack(forge.tensors))), "model.safetensors")


TENSORS: dict[str, Callable[[dict[str, Any]], object]] = {
    "NaN in a weight": lambda tensors: tensors[NAME].__setitem__((0, 0, 0, 0), np.nan),
    "infinity in a bias": lambda tensors: tensors["10_bias"].__setitem__(0, np.inf),
    "NaN in the offset": lambda tensors: tensors.update({"00_offset": np.array(np.nan)}),
    "tensor of another dtype": lambda tensors: tensors.update({NAME: tensors[NAME].astype(np.float32)}),
    "all of another dtype": lambda tensors: tensors.update({k: v.astype(np.float32) for k, v in tensors.items()}),
    "tensor used by nobody": lambda tensors: tensors.update(extra=np.zeros(3)),
    "missing tensor": lambda tensors: tensors.pop("10_bias"),
    "one row": lambda tensors: tensors.update({"10_weight": np.ones((1, 6)), "10_bias": np.ones(1)}),
    "no rows": lambda tensors: tensors.update({"10_weight": np.ones((0, 6)), "10_bias": np.ones(0)}),
    "transposed head": lambda tensors: tensors.update({"10_weight": np.ones((6, 3))}),
    "transposed kernel": lambda tensors: tensors.update({NAME: np.ones((2, 4, 3, 3))}),
    "bias per pixel": lambda tensors: tensors.update({"01_bias": np.ones((4, 6, 6))}),
    "offset of another map": lambda tensors: tensors.update({"00_offset": np.ones((2, 6, 5))}),
    "other names, many": lambda tensors: tensors.update({f"\n{i}": np.ones(1) for i in range(500)}),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tampered_tensors(name: str, forge: Any, refused: Refused) -> None:
    TENSORS[name](forge.tensors)
    forge.card["params"] = max(1, sum(value.size for value in forge.tensors.values()))
    refused(forge.sign())


def test_one_tensor_for_two_operators(forge: Any, refused: Refused) -> None:
    del forge.tensors["10_bias"]
    forge.first("head")["tensors"]["bias"] = "01_bias"
    forge.card["params"] -= 3
    refused(forge.sign(), "more than once", "'01_bias'")


@pytest.mark.parametrize("position", [0, 7, 8, 40, -1, -300])
def test_a_changed_byte_under_the_old_hash(position: int, forge: Any) -> None:
    path = forge.directory / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(lp.ChecksumError, match="sha256"):
        lp.load_model(forge.directory)


def test_a_sparse_file_of_a_terabyte_is_not_read(forge: Any, refused: Refused) -> None:
    os.truncate(forge.directory / "model.safetensors", 2**40)
    refused(forge.directory, str(2**40), "expected at most")


def test_a_head_with_too_many_classes_is_refused_before_its_pairs_are_formed(forge: Any, refused: Refused) -> None:
    """(K, K) distances: 4 MB of weights would ask the certifier for 300 GB."""
    forge.tensors.update({"10_weight": np.ones((200_000, 6)), "10_bias": np.ones(200_000)})
    forge.card.update(num_classes=200_000, params=sum(value.size for value in forge.tensors.values()))
    refused(forge.sign(), "200000 classes")
