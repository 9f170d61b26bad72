"""Pictures by what they hold: exact pixels of what is taken, one line for everything else, and no program started."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from lip_plugin.data import PictureSet, load_into_memory
from lip_plugin.data.folders import scan_folder
from lip_plugin.data.pictures import decode_rgb, read_rgb
from lip_plugin.data.shards import index_shards
from lip_plugin.errors import DataError
from lip_plugin.train.config import AugmentConfig, PictureConfig
from lip_plugin.train.streaming import StreamedBatches

from .picture_files import bmp, png, tiff

Image: Any = pytest.importorskip("PIL.Image")
SIZES = PictureConfig(crop=8, train_resize=(8, 8), test_resize=8, workers=0)
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n(x) = flush\nshowpage\n%%EOF\n"


def _saved(kind: str, picture: Any = None, **how: Any) -> bytes:
    buffer = BytesIO()
    (Image.fromarray(PIXELS) if picture is None else picture).save(buffer, kind, **how)
    return buffer.getvalue()


def _grey(rows: list[list[int]]) -> npt.NDArray[np.uint8]:
    return np.repeat(np.array(rows, np.uint8)[:, :, None], 3, 2)


LOSSLESS = {
    "PNG": _saved("PNG"),
    "BMP": _saved("BMP"),
    "WEBP": _saved("WEBP", lossless=True),
    "PPM": _saved("PPM"),
    "TIFF": _saved("TIFF"),
    "TIFF, LZW": _saved("TIFF", compression="tiff_lzw"),
    "TIFF, deflate": _saved("TIFF", compression="tiff_adobe_deflate"),
    "PPM in words": b"P3 9 7 # seven rows\n255\n" + " ".join(map(str, PIXELS.ravel().tolist())).encode(),
    "TIFF by hand": tiff(PIXELS.tobytes(), 9, 7, (8, 8, 8), 2),
    "PNG by hand": png(8, 2, [row.tobytes() for row in PIXELS], 9),
    "BMP by hand": bmp(24, [row[:, ::-1].tobytes() for row in PIXELS], 9),
    "BMP of 32 bits": bmp(32, [np.insert(row[:, ::-1], 3, 7, axis=1).tobytes() for row in PIXELS], 9),
    "PNG, opaque alpha": png(8, 6, [np.insert(row, 3, 255, axis=1).tobytes() for row in PIXELS], 9),
    "TIFF, opaque alpha": tiff(np.insert(PIXELS, 3, 255, axis=2).tobytes(), 9, 7, (8,) * 4, 2, t338=2),
    "WEBP, opaque alpha": _saved("WEBP", Image.fromarray(np.insert(PIXELS, 3, 255, axis=2)), lossless=True),
}


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
@pytest.mark.parametrize("name", LOSSLESS)
def test_a_picture_is_known_by_its_content(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(LOSSLESS[name])
    assert np.array_equal(read_rgb(path), PIXELS)


def test_a_jpeg_of_another_name(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_saved("JPEG", Image.new("RGB", (16, 8), (200, 100, 50)), quality=100))
    found = read_rgb(tmp_path / "a.png")
    assert found.shape == (8, 16, 3) and np.abs(found.astype(int) - [200, 100, 50]).max() <= 2


GREY: dict[str, tuple[bytes, npt.NDArray[np.uint8]]] = {
    "PNG, 1 bit": (png(1, 0, [b"\x50", b"\xa0"], 4), _grey([[0, 255, 0, 255], [255, 0, 255, 0]])),
    "PNG, 2 bits": (png(2, 0, [b"\x1b"], 4), _grey([[0, 85, 170, 255]])),
    "PNG, 4 bits": (png(4, 0, [b"\x01\x2e\xf0"], 5), _grey([[0, 17, 34, 238, 255]])),
    "TIFF, 4 bits": (tiff(b"\x01\x2e\xf0", 5, 1, (4,), 1), _grey([[0, 17, 34, 238, 255]])),
    "TIFF, 4 bits, white is 0": (tiff(b"\x01\x2e\xf0", 5, 1, (4,), 0), _grey([[255, 238, 221, 17, 0]])),
    "TIFF, 8 bits, white is 0": (tiff(b"\x00\x05\xff", 3, 1, (8,), 0), _grey([[255, 250, 0]])),
    "PGM": (b"P5 3 1 255\n\x00\x07\xff", _grey([[0, 7, 255]])),
    "PBM": (b"P4 3 1\n\xa0", _grey([[0, 255, 0]])),
    "PBM in words": (b"P1 3 1 101", _grey([[0, 255, 0]])),
    "BMP, 1 bit": (bmp(1, [b"\xa0"], 3, palette=b"\0\0\0\0\xff\xff\xff\0"), _grey([[255, 0, 255]])),
    "grey and opaque alpha": (png(8, 4, [b"\x07\xff\x09\xff"], 2), _grey([[7, 9]])),
    "an unused transparent colour": (png(8, 0, [b"\x07\x09"], 2, before=((b"tRNS", b"\0\x08"),)), _grey([[7, 9]])),
}


@pytest.mark.parametrize("name", GREY)
def test_grey_of_few_bits_is_scaled_exactly(name: str) -> None:
    content, expected = GREY[name]
    assert np.array_equal(decode_rgb(content, name), expected)


DEEP = {
    "PNG": png(16, 0, [b"\x00\x01\xff\xff", b"\x80\x00\x01\x00"], 2),
    "PGM": b"P5 2 2 65535\n\x00\x01\xff\xff\x80\x00\x01\x00",
    "TIFF": tiff(b"\x01\x00\xff\xff\x00\x80\x00\x01", 2, 2, (16,), 1),
}


@pytest.mark.parametrize("name", DEEP)
def test_grey_of_16_bits_keeps_its_levels(name: str, tmp_path: Path) -> None:
    levels = np.array([[1, 65535], [32768, 256]])
    assert np.array_equal(decode_rgb(DEEP[name], name), np.repeat(levels[:, :, None], 3, 2))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(DEEP[name])
    (tmp_path / "a" / "1.png").write_bytes(png(8, 0, [b"\1\2", b"\3\4"], 2))
    images = PictureSet(scan_folder(tmp_path), "deep", "two pictures", crop=2, resize=2)
    for size in (1, 2):
        x = torch.cat([block for block, _ in images.blocks(size, torch.float64)])
        assert np.array_equal(x[0].numpy(), np.broadcast_to(levels / 65535, (3, 2, 2)))
        assert np.array_equal(x[1].numpy(), np.broadcast_to(np.array([[1, 2], [3, 4]]) / 255, (3, 2, 2)))
    with pytest.raises(DataError, match="two pictures: a picture of more than 8 bits a channel"):
        load_into_memory(images)
    with pytest.raises(DataError, match="training picture 0: grey of 16 bits"):
        next(iter(StreamedBatches(images.pictures, batch_size=2, sizes=SIZES, augment=AugmentConfig()).epoch(0)))


ORIENTATION = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # one tag: a quarter turn
TURNED = _saved("JPEG", Image.new("RGB", (16, 8), (200, 100, 50)), exif=b"Exif\0\0" + ORIENTATION)


@pytest.mark.parametrize("name", [*LOSSLESS, *GREY, "turned by EXIF", "CMYK"])
def test_pixels_are_those_of_torchvisions_loader(name: str, tmp_path: Path) -> None:
    """Whose accuracies are published: it turns nothing by EXIF either."""
    loader: Any = pytest.importorskip("torchvision.datasets.folder").default_loader
    others = {"turned by EXIF": TURNED, "CMYK": _saved("JPEG", Image.new("CMYK", (8, 8), (9, 99, 199, 20)))}
    content = LOSSLESS.get(name) or others.get(name) or GREY[name][0]
    (tmp_path / "a.png").write_bytes(content)
    assert np.array_equal(read_rgb(tmp_path / "a.png"), np.asarray(loader(str(tmp_path / "a.png"))))
    if name == "turned by EXIF":
        with Image.open(tmp_path / "a.png") as picture:
            assert picture.getexif()[0x0112] == 6 and read_rgb(tmp_path / "a.png").shape == (8, 16, 3)


def test_palettes_and_inks() -> None:
    palette = (b"PLTE", bytes([1, 2, 3, 40, 50, 60, 7, 8, 9]))
    expected = np.array([[[40, 50, 60], [1, 2, 3]]], np.uint8)
    assert np.array_equal(decode_rgb(png(8, 3, [b"\1\0"], 2, before=(palette,)), "a"), expected)
    partly = (palette, (b"tRNS", b"\xff\xff\x00"))  # the third colour, which no pixel has
    assert np.array_equal(decode_rgb(png(2, 3, [b"\x40"], 2, before=partly), "a"), expected)
    colours = b"\3\2\1\0\x3c\x32\x28\0"
    assert np.array_equal(decode_rgb(bmp(4, [b"\x10"], 2, palette=colours), "a"), expected)
    assert np.array_equal(decode_rgb(bmp(8, [b"\1\0"], 2, palette=colours), "a"), expected)
    inks = tiff(bytes([0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255]), 3, 1, (8,) * 4, 5)
    assert decode_rgb(inks, "a").tolist() == [[[255, 255, 255], [0, 255, 255], [0, 0, 0]]]


def _frames(kind: str, count: int = 2, **how: Any) -> bytes:
    first, *rest = (Image.new("RGB", (16, 16), (90 * index, 0, 0)) for index in range(count))
    return _saved(kind, first, save_all=True, append_images=rest, **how)


def _alpha(kind: str, mode: str = "RGBA", **how: Any) -> bytes:
    picture = Image.new(mode, (4, 4), 77 if mode == "LA" else (1, 2, 3, 255))
    picture.putpixel((1, 1), (77, 254) if mode == "LA" else (1, 2, 3, 254))
    return _saved(kind, picture, **how)


PALETTE = (b"PLTE", bytes([1, 2, 3, 40, 50, 60]))
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the file is empty"),
    "text": (b"text", "no known picture format"),
    "PostScript": (EPS, "no known picture format"),
    "GIF": (_saved("GIF"), "no known picture format"),
    "ICO": (_saved("ICO", Image.new("RGB", (16, 16))), "no known picture format"),
    "TGA": (_saved("TGA"), "no known picture format"),
    "PCX": (_saved("PCX"), "no known picture format"),
    "PDF": (b"%PDF-1.4\n", "no known picture format"),
    "PNG, 16-bit RGB": (png(16, 2, [bytes(range(12))], 2), "RGB;16B.*expected 8 bits"),
    "PNG, 16-bit RGB of whole levels": (png(16, 2, [bytes([7] * 12)], 2), "RGB;16B"),
    "PNG, 16-bit RGBA": (png(16, 6, [b"\xff" * 16], 2), "RGBA;16B"),
    "PNG, 16-bit grey": (png(16, 0, [bytes(range(4))], 2), "grey of 16 bits; here 8 are expected"),
    "PNG, a transparent 16-bit grey": (png(16, 0, [b"\0\7"], 1, before=((b"tRNS", b"\0\7"),)), "transparent level"),
    "PNG, 16-bit grey and alpha": (png(16, 4, [b"\xff" * 8], 2), "LA;16B"),
    "PGM up to 65535": (b"P5 2 1 65535\n\1\2\3\4", "grey of 16 bits"),
    "PGM up to 65535, and more": (b"P5 2 1 65535\n\1\2\3\4P5", "behind its picture"),
    "PGM up to 4095": (b"P5 2 1 4095\n\1\2\3\4", "up to 4095"),
    "PGM up to 100": (b"P5 2 1 100\n\1\2", "up to 100"),
    "PPM up to 65535": (b"P6 1 1 65535\n\1\2\3\4\5\6", "up to 65535"),
    "PPM in words up to 1000": (b"P3 1 1 1000\n1 2 1000", "up to 1000"),
    "PFM": (b"Pf 1 1 -1.0\n" + struct.pack("<f", 0.5), "F;32F|no known"),
    "Pillow's own PPM": (b"PyP 1 1 255\n\1", "samples P"),
    "TIFF, 16 bits": (tiff(bytes(4), 2, 1, (16,), 1), "grey of 16 bits"),
    "TIFF, 16 bits, white is 0": (tiff(bytes(4), 2, 1, (16,), 0), "white is 0"),
    "TIFF, signed 16 bits": (tiff(bytes(4), 2, 1, (16,), 1, t339=2), "I;16S|signed"),
    "TIFF, 12 bits": (tiff(bytes(3), 2, 1, (12,), 1), "I;12"),
    "TIFF, 16-bit RGB": (tiff(bytes(6), 1, 1, (16,) * 3, 2), "RGB;16L"),
    "TIFF, 16-bit CMYK": (tiff(bytes(8), 1, 1, (16,) * 4, 5), "CMYK;16L"),
    "TIFF, 32 bits": (tiff(bytes(4), 1, 1, (32,), 1), "I;32"),
    "TIFF, float": (tiff(struct.pack("<f", 0.5), 1, 1, (32,), 1, t339=3), "F;32F"),
    "TIFF, 16-bit LZW": (_saved("TIFF", Image.new("I;16", (4, 4)), compression="tiff_lzw"), "grey of 16|I;16N"),
    "TIFF, a fax": (_saved("TIFF", Image.fromarray(PIXELS).convert("1"), compression="group4"), "group4"),
    "TIFF, signed bytes": (tiff(b"\x80\x7f", 2, 1, (8,), 1, t339=2), "signed"),
    "TIFF, a channel of no meaning": (tiff(bytes(4), 1, 1, (8,) * 4, 2, t338=0), "RGBX"),
    "TIFF, palette of 16 bits": (_saved("TIFF", Image.fromarray(PIXELS).quantize(8)), "samples P"),
    "TIFF, LAB": (_saved("TIFF", Image.new("LAB", (4, 4))), "LAB"),
    "TIFF, pages": (_frames("TIFF"), "TIFF with 2 pictures"),
    "TIFF, half its strips": (tiff(bytes(8), 4, 4, (8,), 1, t278=2), "do not cover its 4x4"),
    "BMP, 16 bits": (bmp(16, [b"\x1f\0"], 1), "BGR;15"),
    "BMP, 5, 6 and 5 bits": (bmp(16, [b"\x1f\0"], 1, masks=(0xF800, 0x7E0, 0x1F)), "BGR;16"),
    "BMP, 8 bits, black and white": (bmp(8, [b"\0\1"], 2, palette=b"\0\0\0\0\xff\xff\xff\0"), "BMP of 8 bits"),
    "WebP, animated": (_frames("WEBP", 3), "WEBP with 3 pictures"),
    "PNG, animated": (_frames("PNG"), "PNG with 2 pictures"),
    "PPM, two of them": (LOSSLESS["PPM"] * 2, "behind its picture"),
    "PNG, alpha": (_alpha("PNG"), "transparent"),
    "PNG, grey and alpha": (_alpha("PNG", "LA"), "transparent"),
    "WebP, alpha": (_alpha("WEBP", lossless=True), "transparent"),
    "TIFF, alpha": (_alpha("TIFF"), "transparent"),
    "PNG, a transparent grey": (png(8, 0, [b"\7\x09"], 2, before=((b"tRNS", b"\0\7"),)), "transparent"),
    "PNG, a transparent colour": (png(8, 2, [b"\1\2\3"], 1, before=((b"tRNS", b"\0\1\0\2\0\3"),)), "transparent"),
    "PNG, half a palette transparent": (png(8, 3, [b"\1\0"], 2, before=(PALETTE, (b"tRNS", b"\x80"))), "transparent"),
    "PNG, beyond its palette": (png(8, 3, [b"\1\2"], 2, before=(PALETTE,)), "colour 2 of a palette that has 2"),
    "PNG, no palette": (png(8, 3, [b"\0\0"], 2), "palette that has 0|cannot decode"),
    "a bomb": (png(8, 0, [b"\0"], 20_000, height=20_000), "decompression bomb"),
    "half a bomb": (png(8, 0, [b"\0"], 12_000, height=9_000), "decompression bomb"),
    "a TIFF bomb": (tiff(b"\0", 20_000, 20_000, (8,), 1), "decompression bomb"),
    "a thread": (png(8, 0, [bytes(300)], 300), "300x1 pixels; expected sides"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_gets_one_line_with_its_name(
    name: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    content, words = REFUSED[name]
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=rf"^cannot (use|decode) .*a\.jpg: .*({words})") as caught:
        read_rgb(tmp_path / "a.jpg")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    assert not recwarn.list


def test_of_a_jpeg_with_previews_the_first_is_taken() -> None:
    content = _frames("MPO", quality=100)
    assert b"MPF\0" in content and decode_rgb(content, "a").max() <= 2  # the second is red


@pytest.mark.parametrize("name", ["JPEG", *sorted(LOSSLESS.keys() - {"PPM in words"})])
def test_a_picture_cut_short_is_refused_or_whole(name: str) -> None:
    """In words the last number may lose a digit, which nobody can tell."""
    content = LOSSLESS.get(name) or _saved("JPEG")
    whole = decode_rgb(content, name)
    for length in range(0, len(content), 7):
        with suppress(DataError):
            assert np.array_equal(decode_rgb(content[:length], name), whole), length
    with pytest.raises(DataError):
        decode_rgb(content[: len(content) * 3 // 4], name)


def test_no_program_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_tar: Callable[[Path, Mapping[str, bytes]], Path]
) -> None:
    program, mark = tmp_path / "bin" / "gs", tmp_path / "started"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    (tmp_path / "pictures" / "a" / "a.tiff").write_bytes(EPS)
    shards = index_shards([write_tar(tmp_path / "s.tar", {"b.jpg": EPS, "b.cls": b"0"})])
    for pictures, name in ((scan_folder(tmp_path / "pictures"), r"a\.tiff"), (shards, r"b\.jpg in .*s\.tar")):
        with pytest.raises(DataError, match=rf"cannot decode .*{name}: no known picture format"):
            pictures.read(0)
    assert not mark.exists()


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    (tmp_path / "c.png").mkdir()
    for name, words in {"a": "FIFO", "b": "device", "c": "directory"}.items():
        with pytest.raises(DataError, match=rf"cannot decode .*{name}\.png.*{words}"):
            read_rgb(tmp_path / f"{name}.png")
    os.mkfifo(tmp_path / "s.tar")
    with pytest.raises(DataError, match=r"s\.tar is no regular file"):
        index_shards([tmp_path / "s.tar"])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "d.png").write_bytes(LOSSLESS["PNG"])
    (tmp_path / "d.png").symlink_to(tmp_path / "elsewhere" / "d.png")
    assert np.array_equal(read_rgb(tmp_path / "d.png"), PIXELS)
