"""PNG files of 8-bit pixels, written without a library that also decodes pictures from outside."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB = 0, 2
COMPRESSION_LEVEL = 6


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """The picture of an array of rows × columns (grey) or rows × columns × 3 (RGB)."""
    rows, columns = pixels.shape[:2]
    colour = GRAY if pixels.ndim == 2 else RGB
    lines = np.zeros((rows, 1 + pixels[0].size), np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = pixels.reshape(rows, -1)
    return b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, colour, 0, 0, 0)),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), COMPRESSION_LEVEL)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
