"""Long sequences, read in batches."""

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batched(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """The rows in lists of at most `size`; none is read before it is needed."""
    source = iter(rows)
    while batch := list(itertools.islice(source, size)):
        yield batch
