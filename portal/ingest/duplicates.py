"""Duplicates: an arriving object is compared with those of the same SOP Instance UID before any of it is kept."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from portal import runtime
from portal.dicom import same_content
from portal.dicom.header import Header
from portal.dicom.same_content import Differences, EncodedDataset
from portal.errors import Damaged, NotDicom, Unreachable
from portal.models import arrivals
from portal.models.arrivals import Rival, SameObject
from portal.models.object_places import ObjectPlace
from portal.zip_members import object_content

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DuplicateComparison:
    """An object compared with those of its SOP Instance UID in its transfer syntax."""

    same: SameObject | None = None
    """The one with the same content in different bytes."""
    different: frozenset[int] = frozenset()
    """Files with different content."""
    differs: str = ""
    """Keywords of the elements that differ from the first of them, which is the one that peers see."""
    undecided: frozenset[int] = frozenset()
    """Files that could not be compared here, which is left to a job."""

    @property
    def files(self) -> frozenset[int]:
        """All files that it was compared with."""
        return self.different | self.undecided | ({self.same.file_id} if self.same is not None else set())


def compare(project_id: int, header: Header, read: Callable[[], EncodedDataset]) -> DuplicateComparison:
    """Compare a data set, which `read` opens at its beginning, with those of its UID in its transfer syntax.

    Reads only, in bounded memory. Objects that are only in the bucket are left to a job, since reading them would block
    the sender; so are pixels that are compressed differently.
    """
    different: set[int] = set()
    undecided: set[int] = set()
    same: SameObject | None = None
    differs = ""
    for rival in arrivals.rivals(project_id, header.sop_uid, header.transfer_syntax):
        differences_here = _differences_here(rival, read)
        if differences_here is not None and not differences_here:
            same = SameObject(rival.file_id, rival.member)
            break
        if differences_here is None or (differences_here.compressed and not differences_here.paths):
            undecided.add(rival.file_id)
            continue
        differs = differs if different else differences_here.keywords
        different.add(rival.file_id)
    return DuplicateComparison(
        same=same, different=frozenset(different), differs=differs, undecided=frozenset(undecided)
    )


def differences(
    one: tuple[ObjectPlace, str], other: tuple[ObjectPlace, str], *, ignored: frozenset[int] = frozenset(), pixels: bool
) -> Differences:
    """How two data sets differ by their encoded values; each is given with its place and transfer syntax.

    `pixels`: compare the encoded pixels too, for two files of one transfer syntax.
    """
    with open_data_set(*one) as first, open_data_set(*other) as second:
        return same_content.differences(first, second, ignored=ignored, pixels=pixels)


@contextmanager
def open_data_set(place: ObjectPlace, transfer_syntax: str) -> Iterator[EncodedDataset]:
    """A data set in the archive, to be compared."""
    with object_content.open_to_seek(place) as content:
        yield EncodedDataset(content, place.size, transfer_syntax)


def _differences_here(rival: Rival, read: Callable[[], EncodedDataset]) -> Differences | None:
    """None where the two cannot be compared without the bucket."""
    if not runtime.archive().is_here(rival.place.segment):
        return None
    arrived = read()
    try:
        with open_data_set(rival.place, arrived.transfer_syntax) as known:
            return same_content.differences(known, arrived, at_most=same_content.MAX_KEYWORDS)
    except Unreachable:
        return None
    except (NotDicom, Damaged) as error:
        log.warning("file %d cannot be compared with what arrived: %s", rival.file_id, error.message)
        return Differences(pixels=True)
