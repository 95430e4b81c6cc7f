"""Transcoding for a destination that does not accept an object as it is stored (PS3.5 A.1, A.2, A.4, 10)."""

import errno
import logging
import zlib
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, Protocol, cast

from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from portal import runtime
from portal.archive import Slice
from portal.errors import NoSpace, PortalError
from portal.pixels import render_pool
from portal.zip_members import object_content
from portal.zip_members.inflated import Inflated

log = logging.getLogger(__name__)

TARGETS = (
    *(str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)),
    *(str(JPEG2000Lossless), str(JPEGLSLossless), str(RLELossless)),
)
"""Transfer syntaxes that objects are transcoded to, the preferred one first: compressed ones without loss only where
the other side takes none that is uncompressed (docs/decisions/0128)."""
MAX_IN_MEMORY = 16 << 20
"""Bytes of a result that is kept in memory; a larger one is kept in an unnamed temporary file."""
MAX_INFLATED_SIZE = 4 << 30
CHUNK_SIZE = 1 << 20


class _Source(Protocol):
    """The part of an `Outgoing` that is needed here."""

    @property
    def transfer_syntax_uid(self) -> str: ...
    @property
    def sop_instance_uid(self) -> str: ...
    def open(self) -> Slice | Inflated: ...


def transcode(outgoing: _Source, transfer_syntax_uid: str) -> BinaryIO:
    """The data set of an `Outgoing`, without file meta, in one of TARGETS: nothing is ever lost by it.

    Returns a binary file at its first byte, which the caller reads in chunks and closes. The SOP Instance UID stays the
    same; pixels that were compressed with loss keep LossyImageCompression 01. A separate process decodes frame by
    frame, so a call may wait for others. Raises PortalError with the reason if the object cannot be transcoded.
    """
    if transfer_syntax_uid not in TARGETS:
        raise PortalError(f"Objects are not transcoded to {UID(transfer_syntax_uid).name}.")
    source = UID(outgoing.transfer_syntax_uid)
    if source not in AllTransferSyntaxes:
        raise PortalError(f"The transfer syntax {source} is unknown, so the object can only be sent in it.")
    result = _temporary()
    try:
        with object_content.to_seek(outgoing.open()) as stored:
            _transcode(stored, source, result, transfer_syntax_uid)
    except (render_pool.Undecodable, zlib.error) as error:
        result.close()
        log.warning("instance %s cannot be decoded from %s: %s", outgoing.sop_instance_uid, source, error)
        raise PortalError(f"The object cannot be decoded from {source.name}. {error}") from error
    except OSError as error:
        result.close()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        message = f"The decoded object cannot be written to the disk while it is sent: {error.strerror}."
        raise (NoSpace if full else PortalError)(message) from error
    except BaseException:
        result.close()
        raise
    result.seek(0)
    return result


def _temporary() -> BinaryIO:
    return cast(BinaryIO, SpooledTemporaryFile(MAX_IN_MEMORY, dir=str(runtime.current().run)))


def _transcode(stored: BinaryIO, syntax: UID, result: BinaryIO, target: str) -> None:
    if syntax != DeflatedExplicitVRLittleEndian:
        render_pool.transcode(stored, result, syntax=syntax, target=target)
        return
    with _temporary() as inflated:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        size = 0
        while not inflater.eof and (packed := inflater.unconsumed_tail or stored.read(CHUNK_SIZE)):
            part = inflater.decompress(packed, CHUNK_SIZE)
            size += len(part)
            if size > MAX_INFLATED_SIZE:
                raise PortalError("The deflated data set is larger than 4 GB once inflated.")
            inflated.write(part)
        render_pool.transcode(inflated, result, syntax=ExplicitVRLittleEndian, target=target)
