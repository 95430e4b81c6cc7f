"""Streaming of a multipart/form-data body: never completely in memory, never in a temporary file."""

from collections.abc import Iterator

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, ClientDisconnected, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from portal.errors import BadValue

CHUNK_BYTES = 1 << 18
_LARGEST_WAITING = 1 << 20
"""Bytes of a part's headers, or of the data around the parts."""
_MOST_PARTS = 100
_LONGEST_BOUNDARY = 200
_OVERHEAD = 1 << 20

__all__ = ["Data", "File", "events"]


def events(largest: int) -> Iterator[File | Data]:
    """Yield the head of each file part, then its bytes; ends only after the closing boundary.

    Raises 413 for a file of more than `largest` bytes, 415 and 400 for another or an incomplete body, and BadValue for
    a part without a file name.
    """
    decoder = MultipartDecoder(_boundary(), _LARGEST_WAITING, max_parts=_MOST_PARTS)
    request.max_content_length = largest + _OVERHEAD
    size = 0
    while not isinstance(event := _next(decoder), Epilogue):
        if isinstance(event, NeedData):
            decoder.receive_data(_read() or None)
        elif isinstance(event, Field):
            raise BadValue(f"The part {str(event.name)[:64]!r} has no file name; send only a file.")
        elif isinstance(event, File):
            size = 0
            yield event
        elif isinstance(event, Data):
            size += len(event.data)
            if size > largest:
                raise RequestEntityTooLarge
            yield event


def _boundary() -> bytes:
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType("Send the file without a Content-Encoding.")
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not boundary:
        raise UnsupportedMediaType("Send the file as a part of a multipart/form-data body.")
    if len(boundary) > _LONGEST_BOUNDARY or not boundary.isascii():
        raise BadRequest("The boundary of the multipart body is too long, or is not ASCII.")
    return boundary.encode()


def _next(decoder: MultipartDecoder) -> Event:
    try:
        return decoder.next_event()
    except ValueError as error:
        raise BadRequest("The multipart body is malformed or incomplete. Send it again.") from error


def _read() -> bytes:
    try:
        return request.stream.read(CHUNK_BYTES)
    except OSError as error:
        raise ClientDisconnected("The body is incomplete. Send it again.") from error
    except ParseException as error:
        raise BadRequest("The chunked encoding of the body is malformed (RFC 9112 7.1). Send it again.") from error
