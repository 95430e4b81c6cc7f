"""DIMSE status codes: what each of our errors is answered with (PS3.4 B.2.3, C.4; PS3.7 C)."""

import logging

from peewee import PeeweeException
from pydicom.dataset import Dataset

from portal import models
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

MAX_COMMENT_LENGTH = 64
"""Characters of an Error Comment (VR LO)."""


class UnknownDestination(PortalError):
    """A move destination that is not registered, has no address, or that the peer may not name."""


CODE_BY_ERROR: dict[type[BaseException], int] = {
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
    code = next(CODE_BY_ERROR[kind] for kind in type(error).__mro__ if kind in CODE_BY_ERROR)
    if isinstance(error, PortalError):
        log.info("answered %04X: %s", code, error.message)
        return answer(code, error.message)
    if models.is_full(error):
        log.warning("answered %04X: %s", code, error)
        return answer(code, "The disk is full. Nothing is taken in until some is freed.")
    if models.is_busy(error):
        log.warning("answered %04X: %s", code, error)
        return answer(code, "The database is busy. Try again in a minute.")
    log.error("answered %04X", code, exc_info=error)
    return answer(code, "Not done for a reason within this system; see its log.")


def answer(code: int, comment: str = "") -> Dataset:
    """A status with its Error Comment, in the ASCII that an LO of a command set may hold."""
    status = Dataset()
    status.Status = code
    if comment:
        status.ErrorComment = comment.encode("ascii", "replace").decode().replace("\\", "/")[:MAX_COMMENT_LENGTH]
    return status


FAILURE_MEANINGS = {
    0x0110: "processing failure",
    0x0111: "it says that it has such an object already",
    0x0112: "no such object instance",
    0x0117: "it takes the UID for none",
    0x0122: "it does not support the SOP Class",
    0x0124: "it does not allow us this",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
}
WARNING_MEANINGS = {
    0x0107: "attribute list error",
    0x0116: "attribute value out of range",
    0xB000: "it changed elements of the data set",
    0xB006: "it left out elements of the data set",
    0xB007: "the data set does not fit its SOP Class",
}


def describe(code: int, comment: str = "") -> str:
    """What a peer answered to a C-STORE, in words (PS3.4 B.2.3, PS3.7 C)."""
    words = _words_of(code)
    said = f" It said: {comment}." if comment else ""
    what = "Taken with warning" if is_warning(code) else "Refused with status"
    return f"{what} {code:04X}{f' ({words})' if words else ''}.{said}"


def _words_of(code: int) -> str:
    if is_warning(code):
        return WARNING_MEANINGS.get(code, "")
    families = {0xA7: "out of resources", 0xA9: "the data set does not fit its SOP Class"}
    if code >> 12 == 0xC:
        return "it cannot understand the data set"
    return FAILURE_MEANINGS.get(code) or families.get(code >> 8, "")


def is_transient(code: int) -> bool:
    """Whether the same object may be taken later: the other side is out of something (A7xx, 0213)."""
    return code >> 8 == 0xA7 or code == 0x0213


def is_warning(code: int) -> bool:
    """Whether a C-STORE status says that the object was taken, but (PS3.7 C.4: 0001, Bxxx, 0107, 0116)."""
    return code in (0x0001, 0x0107, 0x0116) or 0xB000 <= code <= 0xBFFF
