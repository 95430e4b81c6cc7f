"""Command sets by hand: always Implicit VR Little Endian, some twenty elements of fixed types (PS3.7 6.3, E.1)."""

import struct
from dataclasses import dataclass

STORE_RQ, STORE_RSP = 0x0001, 0x8001
GET_RQ, GET_RSP = 0x0010, 0x8010
FIND_RQ, FIND_RSP = 0x0020, 0x8020
MOVE_RQ, MOVE_RSP = 0x0021, 0x8021
ECHO_RQ, ECHO_RSP = 0x0030, 0x8030
EVENT_REPORT_RQ, EVENT_REPORT_RSP = 0x0100, 0x8100
ACTION_RQ, ACTION_RSP = 0x0130, 0x8130
CANCEL_RQ = 0x0FFF
IS_RESPONSE = 0x8000
"""The bit of a command field that tells a response from its request."""

MAX_SIZE = 64 << 10
"""Bytes of a command set."""
NO_DATA_SET, SOME_DATA_SET = 0x0101, 0x0001
MEDIUM = 0
"""The priority of our requests (PS3.7 9.1.1.1)."""

_ELEMENT = struct.Struct("<HHL")
_NUMBER = struct.Struct("<H")
_NUMBERS = {
    0x0100: "field",
    0x0110: "message_id",
    0x0120: "responded_to",
    0x0700: "priority",
    0x0800: "data_set_type",
    0x0900: "status",
    0x1020: "remaining",
    0x1021: "completed",
    0x1022: "failed",
    0x1023: "warned",
    0x1002: "event_type",
    0x1008: "action_type",
    0x1031: "originator_message_id",
}
_TEXTS = {
    0x0002: "sop_class_uid",
    0x0003: "requested_class_uid",
    0x0600: "move_destination",
    0x0902: "comment",
    0x1000: "sop_instance_uid",
    0x1001: "requested_instance_uid",
    0x1030: "originator_title",
}
"""Element number in group 0000 → name. Others are skipped."""


class BadCommand(Exception):
    """A command set that cannot be read; nothing can be answered to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command set, as a peer sent it: texts without padding, None and empty for what it lacks."""

    field: int
    has_data_set: bool
    message_id: int | None = None
    responded_to: int | None = None
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    requested_class_uid: str = ""
    requested_instance_uid: str = ""
    event_type: int | None = None
    action_type: int | None = None
    priority: int = MEDIUM
    move_destination: str = ""
    originator_title: str = ""
    originator_message_id: int | None = None
    status: int | None = None
    comment: str = ""
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warned: int | None = None

    @property
    def is_response(self) -> bool:
        return bool(self.field & IS_RESPONSE)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Sub-operations, for the responses of C-MOVE and C-GET; without `remaining` in most final ones."""

    completed: int
    failed: int
    warned: int
    remaining: int | None = None


def decode(encoded: bytes | bytearray | memoryview) -> Command:
    """The command of at most MAX_SIZE bytes. Raises BadCommand."""
    found: dict[str, int | str] = {}
    position, end = 0, len(encoded)
    while position < end:
        if end - position < _ELEMENT.size:
            raise BadCommand("It ends inside an element.")
        group, number, length = _ELEMENT.unpack_from(encoded, position)
        position += _ELEMENT.size
        if group != 0 or length > end - position:
            raise BadCommand("It has an element of another group, or one that is longer than the command set.")
        if name := _NUMBERS.get(number):
            if length == _NUMBER.size:
                (found[name],) = _NUMBER.unpack_from(encoded, position)
            elif length:
                raise BadCommand(f"Its element (0000,{number:04X}) has {length} bytes in place of two.")
        elif name := _TEXTS.get(number):
            found[name] = str(encoded[position : position + length], "latin-1").strip(" \0")
        position += length
    if "field" not in found or "data_set_type" not in found:
        raise BadCommand("It has no Command Field, or no Command Data Set Type.")
    has_data_set = found.pop("data_set_type") != NO_DATA_SET
    return Command(has_data_set=has_data_set, **found)  # type: ignore[arg-type]  # each name has the type of its table


def echo_request(sop_class_uid: str, message_id: int) -> bytes:
    return _with_length(
        _text(0x0002, sop_class_uid, b"\0"),
        _number(0x0100, ECHO_RQ),
        _number(0x0110, message_id),
        _number(0x0800, NO_DATA_SET),
    )


def store_request(
    sop_class_uid: str, sop_instance_uid: str, message_id: int, *, originator_title: str = "", originator_id: int = 0
) -> bytes:
    """A C-STORE-RQ; with a title that of a C-MOVE's sub-operation (PS3.7 9.3.1.1)."""
    originator = b""
    if originator_title:
        originator = _text(0x1030, originator_title, b" ") + _number(0x1031, originator_id)
    return _with_length(
        _text(0x0002, sop_class_uid, b"\0"),
        _number(0x0100, STORE_RQ),
        _number(0x0110, message_id),
        _number(0x0700, MEDIUM),
        _number(0x0800, SOME_DATA_SET),
        _text(0x1000, sop_instance_uid, b"\0"),
        originator,
    )


def action_request(sop_class_uid: str, sop_instance_uid: str, action_type: int, message_id: int) -> bytes:
    """An N-ACTION-RQ with action information (PS3.7 10.3.4.1)."""
    return _with_length(
        _text(0x0003, sop_class_uid, b"\0"),
        _number(0x0100, ACTION_RQ),
        _number(0x0110, message_id),
        _number(0x0800, SOME_DATA_SET),
        _text(0x1001, sop_instance_uid, b"\0"),
        _number(0x1008, action_type),
    )


def event_report_request(sop_class_uid: str, sop_instance_uid: str, event_type: int, message_id: int) -> bytes:
    """An N-EVENT-REPORT-RQ with event information (PS3.7 10.3.1.1)."""
    return _with_length(
        _text(0x0002, sop_class_uid, b"\0"),
        _number(0x0100, EVENT_REPORT_RQ),
        _number(0x0110, message_id),
        _number(0x0800, SOME_DATA_SET),
        _text(0x1000, sop_instance_uid, b"\0"),
        _number(0x1002, event_type),
    )


def response(
    request: Command, status: int, *, comment: str = "", has_data_set: bool = False, counts: Counts | None = None
) -> bytes:
    """The response to a request, with the UIDs that it named; `comment` of at most 64 ASCII characters."""
    parts = [
        _number(0x0100, request.field | IS_RESPONSE),
        _number(0x0120, request.message_id or 0),
        _number(0x0800, SOME_DATA_SET if has_data_set else NO_DATA_SET),
        _number(0x0900, status),
    ]
    # An N-ACTION names as requested what its response names as affected (PS3.7 10.3.4.2).
    if sop_class_uid := request.sop_class_uid or request.requested_class_uid:
        parts.insert(0, _text(0x0002, sop_class_uid, b"\0"))
    if comment:
        parts.append(_text(0x0902, comment, b" "))
    if sop_instance_uid := request.sop_instance_uid or request.requested_instance_uid:
        parts.append(_text(0x1000, sop_instance_uid, b"\0"))
    if counts is not None:
        if counts.remaining is not None:
            parts.append(_number(0x1020, counts.remaining))
        parts += (_number(0x1021, counts.completed), _number(0x1022, counts.failed), _number(0x1023, counts.warned))
    return _with_length(*parts)


def _number(number: int, value: int) -> bytes:
    return struct.pack("<HHLH", 0, number, 2, value)


def _text(number: int, value: str, padding: bytes) -> bytes:
    """A UID is padded with NUL, an AE title or a comment with a space, to an even length (PS3.5 6.2)."""
    encoded = value.encode("latin-1", "replace")
    encoded += padding * (len(encoded) & 1)
    return _ELEMENT.pack(0, number, len(encoded)) + encoded


def _with_length(*parts: bytes) -> bytes:
    elements = b"".join(parts)
    return struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements
