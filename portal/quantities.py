"""Byte counts as text, for pages and the command line."""

from typing import Any

UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def size(count: Any) -> str:
    """512 kB, 1.4 GB: decimal units, with one decimal below 10."""
    value = float(count or 0)
    for unit in UNITS:
        if value < 1000 or unit == UNITS[-1]:
            break
        value /= 1000
    if unit == "bytes":
        return f"{int(value):,} {'byte' if value == 1 else unit}"
    return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
