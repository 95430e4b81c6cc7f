"""Duplicates: what arrives under a SOP Instance UID that is here is compared with it, before any of it is kept."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from portal import runtime
from portal.dicom import same_content
from portal.dicom.header import Header
from portal.dicom.same_content import Differences, EncodedDataset
from portal.errors import Damaged, NotDicom, Unreachable
from portal.models import Blob, arrivals
from portal.models.arrivals import Rival

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DuplicateComparison:
    """What an object is to those under its UID in its transfer syntax."""

    same: int | None = None
    """The file that says the same in other bytes."""
    different: frozenset[int] = frozenset()
    """Files that say something else."""
    differs: str = ""
    """Keywords of what differs from the first of them, which is the one that is shown."""
    undecided: frozenset[int] = frozenset()
    """Files that could not be compared here: a job has to."""

    @property
    def files(self) -> frozenset[int]:
        """All that it was compared with."""
        return self.different | self.undecided | ({self.same} if self.same is not None else set())


def compare(project_id: int, header: Header, read: Callable[[], EncodedDataset]) -> DuplicateComparison:
    """Compare a data set, which `read` gives from its beginning, with those under its UID in its transfer syntax.

    Reads only, in bounded memory. Nobody waits for the bucket: what lies there alone is left to a job, as are pixels
    that are compressed otherwise.
    """
    different: set[int] = set()
    undecided: set[int] = set()
    same: int | None = None
    differs = ""
    for rival in arrivals.rivals(project_id, header.sop_uid, header.transfer_syntax):
        found = _differences(rival, read)
        if found is not None and not found:
            same = rival.file_id
            break
        if found is None or (found.compressed and not found.paths):
            undecided.add(rival.file_id)
            continue
        differs = differs if different else found.keywords
        different.add(rival.file_id)
    return DuplicateComparison(
        same=same, different=frozenset(different), differs=differs, undecided=frozenset(undecided)
    )


@contextmanager
def open_data_set(blob: Blob, transfer_syntax: str) -> Iterator[EncodedDataset]:
    """The data set of a DICOM file in the archive, to be compared."""
    begin = blob.dataset_offset or 0
    with _opened(blob.segment, blob.offset + begin, blob.size - begin, transfer_syntax) as known:
        yield known


@contextmanager
def _opened(segment: str, offset: int, size: int, transfer_syntax: str) -> Iterator[EncodedDataset]:
    with runtime.archive().open(segment, offset, size) as content:
        yield EncodedDataset(cast(BinaryIO, content), size, transfer_syntax)


def _differences(rival: Rival, read: Callable[[], EncodedDataset]) -> Differences | None:
    """None where they cannot be told here."""
    if not runtime.archive().is_here(rival.segment):
        return None
    arrived = read()
    try:
        with _opened(rival.segment, rival.offset, rival.size, arrived.transfer_syntax) as known:
            return same_content.differences(known, arrived, at_most=same_content.MAX_KEYWORDS)
    except Unreachable:
        return None
    except (NotDicom, Damaged) as error:
        log.warning("file %d cannot be compared with what arrived: %s", rival.file_id, error.message)
        return Differences(pixels=True)
