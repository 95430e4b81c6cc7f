"""DIMSE status codes: the one for each of our errors, and the meanings of a peer's (PS3.4 B.2.3, C.4; PS3.7 C)."""

import logging

from peewee import PeeweeException
from pydicom.dataset import Dataset

from portal import models
from portal.errors import (
    BadIdentifier,
    BadValue,
    Conflicting,
    Missing,
    NoSpace,
    NotAllowed,
    NotDicom,
    PortalError,
    TooManyAnswers,
    Unreachable,
)

log = logging.getLogger(__name__)

SUCCESS = 0x0000
PENDING = 0xFF00
PENDING_UNMATCHED_KEYS = 0xFF01
CANCEL = 0xFE00
OUT_OF_RESOURCES = 0xA700
CANNOT_COUNT = 0xA701
SUBOPERATIONS_FAILED = 0xA702
SOME_SUBOPERATIONS_FAILED = 0xB000
MOVE_DESTINATION_UNKNOWN = 0xA801

NO_SUCH_INSTANCE = 0x0112
NO_SUCH_EVENT = 0x0113
INVALID_ARGUMENT = 0x0115
NO_SUCH_SOP_CLASS = 0x0118
NO_SUCH_ACTION = 0x0123
RESOURCE_LIMITATION = 0x0213
"""Of N-ACTION and N-EVENT-REPORT (PS3.7 10.1.1.1.8, 10.1.4.1.10)."""

MAX_COMMENT_LENGTH = 64
"""Characters of an Error Comment (VR LO)."""


class UnknownDestination(PortalError):
    """A move destination that is no peer, has no address, or that the requestor may not name."""


CODE_BY_ERROR: dict[type[BaseException], int] = {
    NoSpace: OUT_OF_RESOURCES,
    TooManyAnswers: OUT_OF_RESOURCES,
    PeeweeException: OUT_OF_RESOURCES,
    OSError: OUT_OF_RESOURCES,
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
"""Error → status. A700 makes a sender try again, so it is for temporary causes: a full disk, a busy database."""


def for_error(error: BaseException) -> Dataset:
    """The status of the response to a request that raised `error`, with its message as Error Comment.

    Any other error than a PortalError is logged as an internal one, and the peer gets no details.
    """
    code = next(CODE_BY_ERROR[kind] for kind in type(error).__mro__ if kind in CODE_BY_ERROR)
    if isinstance(error, PortalError):
        log.info("answered %04X: %s", code, error.message)
        return answer(code, error.message)
    if models.is_full(error):
        log.warning("answered %04X: %s", code, error)
        return answer(code, "The disk is full. Objects are stored again once space is freed.")
    if models.is_busy(error):
        log.warning("answered %04X: %s", code, error)
        return answer(code, "The database is busy. Try again in a minute.")
    log.error("answered %04X", code, exc_info=error)
    return answer(code, "Failed with an internal error of this system; see its log.")


class Refused(PortalError):
    """A request of a normalized service that is answered with a status of its own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


NORMALIZED_BY_ERROR: dict[type[BaseException], int] = {
    NoSpace: RESOURCE_LIMITATION,
    PeeweeException: RESOURCE_LIMITATION,
    OSError: RESOURCE_LIMITATION,
    NotAllowed: 0x0124,
    BadValue: INVALID_ARGUMENT,
    BaseException: 0x0110,
}
"""Error → status of an N-ACTION or N-EVENT-REPORT; 0213 (resource limitation) makes the requestor ask again."""


def for_normalized(error: BaseException) -> tuple[int, str]:
    """As `for_error`, for the services whose statuses are those of PS3.7 10: the code and its comment."""
    code = next(NORMALIZED_BY_ERROR[kind] for kind in type(error).__mro__ if kind in NORMALIZED_BY_ERROR)
    return error.code if isinstance(error, Refused) else code, for_error(error).get("ErrorComment", "")


def answer(code: int, text: str = "") -> Dataset:
    """A status with its Error Comment."""
    status = Dataset()
    status.Status = code
    if text:
        status.ErrorComment = comment(text)
    return status


def comment(text: str) -> str:
    """An Error Comment: ASCII, because a command set has no other character set, and no longer than its VR allows."""
    return text.encode("ascii", "replace").decode().replace("\\", "/")[:MAX_COMMENT_LENGTH]


FAILURE_MEANINGS = {
    0x0110: "processing failure",
    0x0111: "it already has an object with this SOP Instance UID",
    0x0112: "no such object instance",
    0x0117: "it finds the UID invalid",
    0x0122: "it does not support the SOP Class",
    0x0124: "it does not authorize us",
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
    """A peer's response to a C-STORE in words (PS3.4 B.2.3, PS3.7 C)."""
    if is_warning(code):
        outcome, meaning = "Accepted with warning", WARNING_MEANINGS.get(code, "")
    elif code >> 12 == 0xC:
        outcome, meaning = "Refused with status", "it cannot understand the data set"
    else:
        families = {0xA7: "out of resources", 0xA9: "the data set does not fit its SOP Class"}
        outcome, meaning = "Refused with status", FAILURE_MEANINGS.get(code) or families.get(code >> 8, "")
    remark = f" Its comment: {comment}." if comment else ""
    return f"{outcome} {code:04X}{f' ({meaning})' if meaning else ''}.{remark}"


def is_transient(code: int) -> bool:
    """Whether the peer may accept the same object later: it is out of resources now (A7xx, 0213)."""
    return code >> 8 == 0xA7 or code == 0x0213


def is_warning(code: int) -> bool:
    """Whether a C-STORE status says that the object was accepted with a warning (PS3.7 C.4: 0001, Bxxx, 0107, 0116)."""
    return code in (0x0001, 0x0107, 0x0116) or 0xB000 <= code <= 0xBFFF
