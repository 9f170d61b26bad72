"""Picture files written byte by byte, so that what they hold is known without a library that reads pictures."""

from __future__ import annotations

import struct
import zlib

Chunks = tuple[tuple[bytes, bytes], ...]


def png(depth: int, colour: int, rows: list[bytes], width: int, *, before: Chunks = (), height: int = 0) -> bytes:
    """``rows`` of samples as they are stored; ``colour`` is 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, height or len(rows), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", header), *before, (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def tiff(data: bytes, width: int, height: int, bits: tuple[int, ...], photometric: int, **tags: int) -> bytes:
    """One uncompressed strip, little-endian. ``tags`` are t277=..., each a short; a long offset for 273."""
    entries = {
        256: (3, [width]),
        257: (3, [height]),
        258: (3, list(bits)),
        259: (3, [1]),
        262: (3, [photometric]),
        277: (3, [len(bits)]),
        278: (3, [height]),
        279: (4, [len(data)]),
        **{int(name[1:]): (3, [value]) for name, value in tags.items()},
    }
    entries[273] = (4, [8])
    spare = 8 + len(data) + len(data) % 2
    extra, records = b"", b""
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            place = struct.pack("<I", spare + len(extra))
            extra += packed + b"\0" * (len(packed) % 2)
            packed = place
        records += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    directory = struct.pack("<H", len(entries)) + records + b"\0\0\0\0"
    head = b"II*\0" + struct.pack("<I", spare + len(extra))
    return head + data.ljust(spare - 8, b"\0") + extra + directory


def bmp(bits: int, rows: list[bytes], width: int, *, palette: bytes = b"", masks: tuple[int, ...] = ()) -> bytes:
    """``rows`` from the top, before padding; ``palette`` in blue, green, red, 0."""
    body = b"".join(row + b"\0" * (-len(row) % 4) for row in reversed(rows))
    between = struct.pack(f"<{len(masks)}I", *masks) + palette
    start = 14 + 40 + len(between)
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, len(rows), 1, bits, 3 if masks else 0, 0, 0, 0, len(palette) // 4, 0
    )
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + between + body
