"""DIMSE status codes: what each of our errors is answered with (PS3.4 B.2.3, C.4; PS3.7 C)."""

import logging

from peewee import PeeweeException
from pydicom.dataset import Dataset

from portal.errors import (
    BadIdentifier,
    Conflicting,
    Missing,
    NoSpace,
    NotAllowed,
    NotDicom,
    PortalError,
    Unreachable,
)

log = logging.getLogger(__name__)

SUCCESS = 0x0000
PENDING = 0xFF00
PENDING_UNMATCHED_KEYS = 0xFF01
CANCEL = 0xFE00
SUBOPERATIONS_FAILED = 0xA702
SOME_SUBOPERATIONS_FAILED = 0xB000
MOVE_DESTINATION_UNKNOWN = 0xA801

LONGEST_COMMENT = 64
"""Characters of an Error Comment (VR LO)."""


class UnknownDestination(PortalError):
    """A move destination that is not registered, has no address, or that the peer may not name."""


CODES: dict[type[BaseException], int] = {
    NoSpace: 0xA700,
    PeeweeException: 0xA700,
    OSError: 0xA700,
    Unreachable: SUBOPERATIONS_FAILED,
    UnknownDestination: MOVE_DESTINATION_UNKNOWN,
    NotDicom: 0xA900,
    BadIdentifier: 0xA900,
    NotAllowed: 0x0124,
    Conflicting: 0xC111,
    Missing: 0xC000,
    PortalError: 0xC000,
    BaseException: 0xC000,
}
"""Error → status. A700 makes a sender try again, so it is for what passes: a full disk, a database that is away."""


def for_error(error: BaseException) -> Dataset:
    """The status of the answer to what raised `error`, with its sentence as Error Comment.

    What is no PortalError is a defect or a machine in trouble: it is logged, and the peer is told no details.
    """
    code = next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)
    if isinstance(error, PortalError):
        log.info("answered %04X: %s", code, error.sentence)
        return answer(code, error.sentence)
    log.error("answered %04X", code, exc_info=error)
    return answer(code, "Not done for a reason within this system; see its log.")


def answer(code: int, comment: str = "") -> Dataset:
    """A status with its Error Comment, in the ASCII that an LO of a command set may hold."""
    status = Dataset()
    status.Status = code
    if comment:
        status.ErrorComment = comment.encode("ascii", "replace").decode().replace("\\", "/")[:LONGEST_COMMENT]
    return status


def is_warning(code: int) -> bool:
    """Whether a C-STORE status says that the object was taken, but (PS3.7 C.4: 0001, Bxxx, 0107, 0116)."""
    return code in (0x0001, 0x0107, 0x0116) or 0xB000 <= code <= 0xBFFF
