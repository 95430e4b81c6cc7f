"""The data sets of storage commitment, read and written as a stream of references (PS3.4 J.3.2.1.1, J.3.3.1.1)."""

import hashlib
import struct
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, NamedTuple, cast

from pydicom.uid import ImplicitVRLittleEndian

from portal.dicom import element_heads, uids
from portal.dicom.element_heads import ITEM, SEQUENCE_END, UNDEFINED_LENGTH
from portal.dicom.element_reader import Element, ElementReader
from portal.errors import BadValue, NotDicom

SOP_CLASS = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model."""
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Its well-known instance (PS3.4 J.3.5)."""
MAX_INSTANCES = 250_000
"""Instances of one request."""
MAX_SIZE = 64 << 20
"""Bytes of the data set of a request or a report."""
REFERENCES_PER_BLOCK = 1000

_ELEMENTS_PER_INSTANCE = 8
_OTHER_ELEMENTS = 10_000
_TRANSACTION_UID, _REFERENCED, _FAILED = 0x00081195, 0x00081199, 0x00081198
_CLASS, _INSTANCE, _REASON = 0x00081150, 0x00081155, 0x00081197
_MAX_VALUE_LENGTH = 1024
_MAX_IN_MEMORY = 1 << 20


class Reference(NamedTuple):
    """One instance of a request, or of a report; `reason` is the Failure Reason of one that failed."""

    sop_class_uid: str
    sop_instance_uid: str
    reason: int | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a whole data set says, apart from its references."""

    transaction_uid: str
    count: int
    digest: str
    """Of the references, whatever their order."""


def summarize(file: IO[bytes], transfer_syntax_uid: str) -> Summary:
    """Read a request or a report once, from the start of the file to its end, and check all of it.

    Raises BadValue for what is no data set of that kind: nothing of it counts then.
    """
    total, count = 0, 0
    reader = _reader(file, transfer_syntax_uid)
    transaction = ""
    for found in _read(reader):
        if isinstance(found, str):
            transaction = found
            continue
        count += 1
        if count > MAX_INSTANCES:
            raise BadValue(f"It names more than {MAX_INSTANCES:,} instances. Ask for them in several requests.")
        total += int.from_bytes(hashlib.sha256(f"{found.sop_class_uid} {found.sop_instance_uid}".encode()).digest())
    if reader.stopped or reader.is_cut:
        raise BadValue("It is cut, or not a data set in the transfer syntax of its presentation context.")
    if not transaction:
        raise BadValue("It has no Transaction UID.")
    if not count:
        raise BadValue("It names no instance.")
    return Summary(transaction_uid=transaction, count=count, digest=f"{total % (1 << 256):064x}")


def references(file: IO[bytes], transfer_syntax_uid: str) -> Iterator[Reference]:
    """The instances of a data set that `summarize` has checked, in their order."""
    return (found for found in _read(_reader(file, transfer_syntax_uid)) if not isinstance(found, str))


def encode(
    transaction_uid: str,
    transfer_syntax_uid: str,
    *,
    referenced: Iterable[Reference],
    failed: Iterable[Reference] = (),
) -> IO[bytes]:
    """A request or a report in a temporary file, at its end; a sequence that has no item is left out.

    `transfer_syntax_uid`: Implicit or Explicit VR Little Endian.
    """
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    file = tempfile.SpooledTemporaryFile(max_size=_MAX_IN_MEMORY)  # noqa: SIM115 (the caller closes it)
    file.write(_uid(_TRANSACTION_UID, transaction_uid, implicit))
    for tag, listed in ((_FAILED, failed), (_REFERENCED, referenced)):
        is_begun = False
        for one in listed:
            if not is_begun:
                file.write(element_heads.encode(tag, "SQ", UNDEFINED_LENGTH, implicit=implicit))
                is_begun = True
            content = _uid(_CLASS, one.sop_class_uid, implicit) + _uid(_INSTANCE, one.sop_instance_uid, implicit)
            if one.reason is not None:
                content += element_heads.encode(_REASON, "US", 2, implicit=implicit) + struct.pack("<H", one.reason)
            file.write(_head(ITEM, len(content)) + content)
        if is_begun:
            file.write(_head(SEQUENCE_END, 0))
    return file


def _reader(file: IO[bytes], transfer_syntax_uid: str) -> ElementReader:
    size = file.seek(0, 2)
    file.seek(0)
    return ElementReader(
        cast(BinaryIO, file),
        size=size,
        transfer_syntax_uid=transfer_syntax_uid,
        deep=True,
        max_elements=_ELEMENTS_PER_INSTANCE * MAX_INSTANCES + _OTHER_ELEMENTS,
    )


def _read(reader: ElementReader) -> Iterator[str | Reference]:
    """The Transaction UID, and each item of the two sequences as soon as it is complete."""
    sequence, item = 0, dict[int, str | int]()

    def complete() -> Iterator[Reference]:
        if item:
            yield _reference(item, is_failed=sequence == _FAILED)
            item.clear()

    for element in reader:
        if element.depth == 0:
            yield from complete()
            sequence = element.tag
            if element.tag == _TRANSACTION_UID:
                yield _uid_of(reader, element, "Its Transaction UID")
        elif element.depth == 1 and sequence in (_REFERENCED, _FAILED):
            if element.tag == ITEM:
                yield from complete()
                item[ITEM] = 0
            elif element.tag in (_CLASS, _INSTANCE):
                item[element.tag] = _uid_of(reader, element, "The UID of an instance or of its SOP Class")
            elif element.tag == _REASON and element.length == 2:
                item[_REASON] = int.from_bytes(reader.value(element, 2) or b"", "little")
    yield from complete()


def _reference(item: dict[int, str | int], *, is_failed: bool) -> Reference:
    sop_class, sop_instance = item.get(_CLASS), item.get(_INSTANCE)
    if not sop_class or not sop_instance:
        raise BadValue("An instance lacks its UID, or that of its SOP Class.")
    return Reference(str(sop_class), str(sop_instance), int(item.get(_REASON, 0)) if is_failed else None)


def _uid_of(reader: ElementReader, element: Element, name: str) -> str:
    value = reader.value(element, _MAX_VALUE_LENGTH) or b""
    try:
        return uids.clean(value.decode("latin-1"), name=name)
    except NotDicom as error:
        raise BadValue(error.message) from error


def _uid(tag: int, uid: str, implicit: bool) -> bytes:
    value = uid.encode("ascii", "replace")
    value += bytes(len(value) & 1)
    return element_heads.encode(tag, "UI", len(value), implicit=implicit) + value


def _head(tag: int, length: int) -> bytes:
    return element_heads.encode(tag, "", length, implicit=True)
