"""The negotiation of an association: its request is decoded and its acceptance encoded by hand (PS3.8 9.3.2, 9.3.3)."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dimse_worker import contexts, extended_negotiation
from dimse_worker.wire import pdus
from portal.dicom import sop_classes
from portal.dicom.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from portal.peers.user_identity import UserIdentity

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
PROTOCOL_VERSION = 1
"""Bit 0 of the protocol version, the only one that counts (PS3.8 9.3.2)."""
ACCEPTED, USER_REJECTION, ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED = 0, 1, 3, 4
"""Results of a presentation context (PS3.8 9.3.3.2)."""

MAX_TRANSFER_SYNTAXES = 128
"""Of one context; the standard knows some sixty."""
MAX_UIDS = 1024
"""Different ones in a request."""

_FIXED_LENGTH = 68
"""Bytes of an A-ASSOCIATE-RQ before its items."""
_ITEM = struct.Struct(">BxH")
_APPLICATION, _CONTEXT_RQ, _CONTEXT_AC, _ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x10, 0x20, 0x21, 0x30, 0x40
_USER_INFORMATION, _MAX_LENGTH, _CLASS_UID, _ROLE, _VERSION_NAME, _EXTENDED = 0x50, 0x51, 0x52, 0x54, 0x55, 0x56
_IDENTITY_RQ, _IDENTITY_AC = 0x58, 0x59
"""Types of items and sub-items; those that we do not know are skipped."""


class BadRequest(Exception):
    """An A-ASSOCIATE-RQ that cannot be decoded."""


@dataclass
class ProposedContext:
    context_id: int
    abstract_syntax: str = ""
    transfer_syntax: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class AssociateRequest:
    """What an A-ASSOCIATE-RQ says: titles without padding."""

    titles: bytes
    """The called and the calling title and the reserved bytes behind, which the acceptance repeats."""
    version: int
    called: str
    calling: str
    application_context: str = ""
    contexts: list[ProposedContext] = field(default_factory=list)
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    """SOP Class UID → whether the requestor proposes to be SCU, and SCP."""
    extended: dict[str, bytes] = field(default_factory=dict)
    """SOP Class UID → service class application information of its extended negotiation (PS3.7 D.3.3.5)."""
    identity: UserIdentity | None = None
    """Its user identity (PS3.7 D.3.3.7)."""
    max_length: int = 0
    """Bytes of the longest P-DATA-TF that the requestor takes; 0 for any."""


@dataclass(frozen=True, kw_only=True)
class AnsweredContext:
    """A proposed context with its result, and the transfer syntax that was accepted, else the first proposed one."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    result: int

    @property
    def description(self) -> dict[str, str | int | None]:
        """As the association's row stores it."""
        return {"sop_class": self.abstract_syntax, "transfer_syntax": self.transfer_syntax, "result": self.result}


def decode(content: bytes) -> AssociateRequest:
    """An A-ASSOCIATE-RQ without its header. Raises BadRequest."""
    if len(content) < _FIXED_LENGTH:
        raise BadRequest("It is too short.")
    request = AssociateRequest(
        titles=content[4:_FIXED_LENGTH],
        version=int.from_bytes(content[:2]),
        called=str(content[4:20], "latin-1").strip(" \0"),
        calling=str(content[20:36], "latin-1").strip(" \0"),
    )
    uids = _Uids()
    for kind, value in _items(memoryview(content)[_FIXED_LENGTH:]):
        if kind == _APPLICATION:
            request.application_context = uids.of(value)
        elif kind == _CONTEXT_RQ:
            request.contexts.append(_context(value, uids))
            if len(request.contexts) > contexts.MAX_CONTEXTS:
                raise BadRequest("It has more contexts than can be told apart.")
        elif kind == _USER_INFORMATION:
            _read_user_information(request, value, uids)
    ids = [context.context_id for context in request.contexts]
    if len(set(ids)) < len(ids) or not all(number & 1 for number in ids):
        raise BadRequest("The ids of its contexts are not odd, or not unique.")
    return request


def answer(
    request: AssociateRequest, accepted: Mapping[int, str], services: frozenset[str]
) -> tuple[list[AnsweredContext], dict[str, tuple[bool, bool]]]:
    """Each proposed context with its result, and the roles of both sides for each class that the requestor asks about.

    `accepted`: as `contexts.accept` returns it; `services`: those that the requestor may use.
    """
    answered, roles = [], {}
    for context in sorted(request.contexts, key=lambda one: one.context_id):
        sop_class, proposed = context.abstract_syntax, context.transfer_syntax
        service, role = contexts.service_of(sop_class), request.roles.get(sop_class)
        syntax, result = accepted.get(context.context_id), ACCEPTED
        if service is None:
            result = ABSTRACT_SYNTAX_NOT_SUPPORTED
        elif service == "store" and role is not None:
            agreed = (role[0] and "store" in services, role[1] and "get" in services)
            result = ACCEPTED if any(agreed) else USER_REJECTION
        elif service == "commit" and role is not None and service in services:
            agreed = role  # which messages are taken is decided when they come
            result = ACCEPTED if any(agreed) else USER_REJECTION
        elif service not in services:
            result = USER_REJECTION
        if result == ACCEPTED and syntax is None:
            result = TRANSFER_SYNTAXES_NOT_SUPPORTED
        if result == ACCEPTED and service in ("store", "commit") and role is not None:
            roles[sop_class] = agreed
        shown = syntax if result == ACCEPTED and syntax else (proposed[0] if proposed else "")
        answered.append(
            AnsweredContext(
                context_id=context.context_id, abstract_syntax=sop_class, transfer_syntax=shown, result=result
            )
        )
    return answered, roles


def acceptance(
    request: AssociateRequest,
    answered: list[AnsweredContext],
    roles: Mapping[str, tuple[bool, bool]],
    extended: Mapping[str, bytes],
) -> bytes:
    """The A-ASSOCIATE-AC."""
    items = [_encoded(_APPLICATION, APPLICATION_CONTEXT.encode())]
    for context in answered:
        # One of a rejected context is not looked at, but has to be there.
        syntax = context.transfer_syntax or contexts.IDENTIFIER_TRANSFER_SYNTAXES[-1]
        head = bytes((context.context_id, 0, context.result, 0))
        items.append(_encoded(_CONTEXT_AC, head + _encoded(_TRANSFER_SYNTAX, syntax.encode("latin-1"))))
    about_us = [
        _encoded(_MAX_LENGTH, contexts.MAX_PDU_LENGTH.to_bytes(4)),
        _encoded(_CLASS_UID, IMPLEMENTATION_CLASS_UID.encode()),
    ]
    for sop_class, (as_scu, as_scp) in sorted(roles.items()):
        uid = sop_class.encode("latin-1")
        about_us.append(_encoded(_ROLE, len(uid).to_bytes(2) + uid + bytes((as_scu, as_scp))))
    about_us.append(_encoded(_VERSION_NAME, IMPLEMENTATION_VERSION.strip()))
    for sop_class, information in sorted(extended.items()):
        uid = sop_class.encode("latin-1")
        about_us.append(_encoded(_EXTENDED, len(uid).to_bytes(2) + uid + information))
    if request.identity is not None and request.identity.wants_response:
        about_us.append(_encoded(_IDENTITY_AC, bytes(2)))  # that it was accepted is all that there is to say
    items.append(_encoded(_USER_INFORMATION, b"".join(about_us)))
    content = b"".join((PROTOCOL_VERSION.to_bytes(2), bytes(2), request.titles, *items))
    return pdus.HEADER.pack(pdus.ASSOCIATE_AC, len(content)) + content


def _items(encoded: memoryview) -> Iterator[tuple[int, memoryview]]:
    position, end = 0, len(encoded)
    while position < end:
        if end - position < _ITEM.size:
            raise BadRequest("It ends inside the header of an item.")
        kind, length = _ITEM.unpack_from(encoded, position)
        position += _ITEM.size
        if length > end - position:
            raise BadRequest("An item is longer than what contains it.")
        yield kind, encoded[position : position + length]
        position += length


class _Uids(dict[bytes, str]):
    """The UIDs of a request, each kept once: it may name more of them than there are bytes for them."""

    def of(self, encoded: memoryview) -> str:
        """One character too many is kept of what is too long: it is no UID that anybody knows."""
        return self[bytes(encoded[: sop_classes.MAX_UID_LENGTH + 1])]

    def __missing__(self, encoded: bytes) -> str:
        if len(self) == MAX_UIDS:
            raise BadRequest(f"It names more than {MAX_UIDS} UIDs.")
        uid = self[encoded] = encoded.decode("latin-1").strip(" \0")
        return uid


def _context(value: memoryview, uids: _Uids) -> ProposedContext:
    if len(value) < 4:
        raise BadRequest("A context is too short.")
    context = ProposedContext(value[0])
    for kind, syntax in _items(value[4:]):
        if kind == _ABSTRACT_SYNTAX:
            context.abstract_syntax = uids.of(syntax)
        elif kind == _TRANSFER_SYNTAX:
            context.transfer_syntax.append(uids.of(syntax))
            if len(context.transfer_syntax) > MAX_TRANSFER_SYNTAXES:
                raise BadRequest("A context has more transfer syntaxes than there are.")
    return context


def _read_user_information(request: AssociateRequest, value: memoryview, uids: _Uids) -> None:
    for kind, content in _items(value):
        if kind == _MAX_LENGTH and len(content) == 4:
            request.max_length = int.from_bytes(content)
        elif kind == _ROLE:
            length = int.from_bytes(content[:2])
            if len(content) != length + 4:
                raise BadRequest("A role selection has a wrong length.")
            request.roles[uids.of(content[2:-2])] = bool(content[-2]), bool(content[-1])
        elif kind == _IDENTITY_RQ:
            request.identity = _identity(content)
        elif kind == _EXTENDED:
            end = 2 + int.from_bytes(content[:2])
            if len(content) < max(2, end):
                raise BadRequest("An extended negotiation has a wrong length.")
            if contexts.service_of(uid := uids.of(content[2:end])) in ("find", "move", "get"):
                request.extended[uid] = bytes(content[end : end + extended_negotiation.MAX_INFORMATION])


def _identity(content: memoryview) -> UserIdentity:
    first = 4 + int.from_bytes(content[2:4])
    second = first + 2 + int.from_bytes(content[first : first + 2])
    if len(content) < 6 or len(content) != second:
        raise BadRequest("A user identity has a wrong length.")
    return UserIdentity(content[0], content[1] == 1, bytes(content[4:first]), bytes(content[first + 2 :]))


def _encoded(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content
