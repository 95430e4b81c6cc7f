"""CRC-32 of what is written and read, by the fastest implementation that there is for the processor."""

import importlib
import zlib
from collections.abc import Callable
from typing import cast


def _fastest() -> Callable[..., int]:
    try:
        return cast(Callable[..., int], importlib.import_module("isal.isal_zlib").crc32)
    except ImportError:  # no wheel for this processor or this Python: the same sums, some ten times as slow
        return zlib.crc32


crc32 = _fastest()
"""As `zlib.crc32`."""
