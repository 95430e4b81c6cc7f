"""The frames of the upper layer: PDU types, P-DATA-TF, release, reject and abort (PS3.8 9.3), and their bounds."""

import struct

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)

HEADER = struct.Struct(">BxL")
"""Type and length of a PDU."""
DATA_VALUE_HEADER = struct.Struct(">LBB")
"""Length, presentation context id and message control header of a presentation data value."""
DATA_OVERHEAD = DATA_VALUE_HEADER.size
"""Bytes that count to a P-DATA-TF's length beside the data, with one value in each."""

IS_COMMAND, IS_LAST = 1, 2
"""Bits of the message control header (PS3.8 E.2)."""

MAX_REQUEST_LENGTH = 1 << 20
"""Bytes of a PDU before the association is established: an A-ASSOCIATE-RQ of 128 contexts has some 20,000."""
MAX_DATA_LENGTH = 16 << 20
"""Bytes of a P-DATA-TF: 64 times what we announce, which some peers exceed. It is passed on in pieces as it comes."""
MIN_MAX_LENGTH = 128
"""The least that a peer may announce as its longest P-DATA-TF: what we send would fall into countless small ones."""
CONTROL_LENGTH = 4
"""Bytes of A-ASSOCIATE-RJ, A-RELEASE-RQ, A-RELEASE-RP and A-ABORT."""

RELEASE_REQUEST = HEADER.pack(RELEASE_RQ, CONTROL_LENGTH) + bytes(CONTROL_LENGTH)
RELEASE_RESPONSE = HEADER.pack(RELEASE_RP, CONTROL_LENGTH) + bytes(CONTROL_LENGTH)

SERVICE_USER, SERVICE_PROVIDER = 0, 2
"""Who aborts (PS3.8 9.3.8)."""
UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 1, 2, 6
"""Reasons of an abort of the service provider."""

_DATA_HEAD = struct.Struct(">BxLLBB")


def data_head(context_id: int, size: int, flags: int) -> bytes:
    """What comes before the `size` bytes of a P-DATA-TF with one value."""
    return _DATA_HEAD.pack(DATA, size + DATA_OVERHEAD, size + 2, context_id, flags)


def rejection(result: int, source: int, reason: int) -> bytes:
    return HEADER.pack(ASSOCIATE_RJ, CONTROL_LENGTH) + bytes((0, result, source, reason))


def abort(source: int = SERVICE_USER, reason: int = 0) -> bytes:
    return HEADER.pack(ABORT, CONTROL_LENGTH) + bytes((0, 0, source, reason))
