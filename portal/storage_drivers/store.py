"""What each provider implements: one container for one thread, one request per call, with its errors translated."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from portal.errors import BadValue, Damaged, NotAllowed, Outage, Unreachable

MIB = 1 << 20
Body = bytes | bytearray | memoryview
"""What one request sends to a store."""
CHUNK_SIZE = MIB // 4
"""Bytes read at a time: small enough to be hashed and copied while they are in the processor's cache."""
NAME_TAKEN = "An object with this name already exists."
ENDLESS_LIST = "The listing of this storage repeats itself and does not end. The storage cannot be listed."


class Part(NamedTuple):
    """A part of an object, counted from 0; `digest` is its SHA-256 in hex, for stores with `needs_part_digest`."""

    number: int
    offset: int
    body: memoryview
    digest: str = ""


class Interrupted(Unreachable):
    """No answer, half an answer, or a server that asks to wait: the same request may succeed a moment later.

    Whether the request was carried out is not known. `retry_after` is the number of seconds that the server asked for.
    """

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ContainerMissing(Outage):
    """The bucket, container or folder does not exist, and so none of its objects. Only a mount may come back."""

    permanent = True


class CredentialsRefused(NotAllowed):
    """The store, or the server that issues its tokens, does not accept the credentials, whatever they are used for."""


class ObjectLost(Unreachable):
    """The store accepted an object, or parts of one, and does not have them. Only this object has to be sent again."""


class Unsupported(BadValue):
    """The store does not support a request."""


class StepWarning(Exception):
    """A step of the connection test succeeded, with a restriction that an admin should know."""


class ReadBackDiffers(BadValue):
    """The store returns other bytes than were sent."""


class FileExtent(NamedTuple):
    """Where content begins in a file of this machine's disks."""

    file: str
    offset: int


@dataclass(kw_only=True)
class Content:
    """An object that is to be written to a store and read back there."""

    key: str
    size: int
    digest: str
    """SHA-256 in hex."""
    chunks: Callable[[], Iterable[bytes]]
    """Its bytes; may raise on the way."""
    on_read: Callable[[int], None] = lambda _length: None
    """Called with the length of each chunk that is read back; may wait, or raise."""
    source: "bytes | FileExtent | None" = None
    """The same bytes for another process of ours; None where only `chunks` gives them."""
    sent: bool = False
    """Whether the store has said that it accepted the object, which proves nothing yet."""


@dataclass(frozen=True)
class Stat:
    """What the store says of an object."""

    key: str
    size: int
    checksum: str = field(default="", compare=False)
    """SHA-256 of the whole object in hex, where the store keeps it."""


@dataclass
class Upload:
    """A multipart upload that is not finished. A provider may keep more of its own in a child class."""

    name: str
    id: str
    size: int = 0
    overwrite: bool = False
    parts: dict[int, str] = field(default_factory=dict)
    """What the store answered to each part, by its number."""
    started: datetime | None = None

    @property
    def part_answers(self) -> list[str]:
        """The answers in the order of the parts."""
        return [self.parts[number] for number in sorted(self.parts)]


class ListProgress:
    """What one listing has returned so far: a page without anything new would repeat for ever.

    It keeps a hash of each item instead of the item, so that a listing of any length takes little memory.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def require(self, *items: object) -> None:
        """Raise Damaged where none of these is new."""
        before = len(self._seen)
        self._seen.update(map(hash, items))
        if len(self._seen) == before:
            raise Damaged(ENDLESS_LIST)


NamedStep = tuple[str, Callable[[], str]]
"""A step of the connection test: its name and its function, which returns a sentence, or raises PortalError or
StepWarning."""


class Store(Protocol):
    """One bucket, container or folder; names are whole, with the storage's prefix. Each thread has its own.

    Nothing here is retried or looked up before it is written: `Destination` does that, the same way for all. Every
    method raises Interrupted where a retry may help, and else NotAllowed (credentials, rights), NoSpace,
    ContainerMissing, Unreachable (`permanent` for what waits for a person: TLS) or Damaged, with one sentence. Missing
    never means the container itself.
    """

    create_only: bool | None
    """Whether the store refuses to overwrite an object. None: not tested yet. False: no refusal is requested."""
    mount: str
    """Where its disk is mounted, once it was opened; empty for the system's own disk, and for what is no folder."""
    lists_by_name: bool
    """Whether every list is in the order of the names, each of which is Unicode."""
    max_name_bytes: int

    def steps(self) -> Sequence[NamedStep]:
        """The first steps of the connection test, up to: the bucket is found."""

    def stat(self, name: str) -> Stat | None: ...

    def read(self, name: str, offset: int, size: int | None) -> Iterator[bytes]:
        """A range of an object, to its end if no size is given. Raises Missing."""

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Stat]]:
        """Objects whose names begin with `prefix` and come after `after`, in the order of their UTF-8 bytes."""

    def delete(self, name: str) -> None:
        """Raises Missing, where the store reports it."""


class ObjectStore(Store, Protocol):
    """A store that accepts an object in one request, or in several for a large one."""

    max_put_size: int
    """Bytes up to which an object is sent in one request."""
    min_part_size: int
    """Bytes of each part of a larger one, but for the last."""
    max_parts: int
    any_part_order: bool
    """Whether the parts of one object may come in any order, and several at once from different threads."""
    needs_part_digest: bool
    """Whether a part is sent with its SHA-256."""

    def put(self, name: str, body: bytes, *, digest: str, overwrite: bool) -> None:
        """Write a whole object durably. Raises Taken where one exists, unless `overwrite`."""

    def begin(self, name: str, *, size: int, overwrite: bool) -> Upload: ...

    def send(self, upload: Upload, part: Part) -> None:
        """Send a part. The same one may come twice. Where they come in order, the last may make the object appear.

        Raises Missing where the upload is unknown.
        """

    def finish(self, upload: Upload) -> None:
        """Make the object appear at its name, durably. Raises Taken as `put`; Missing where a part of it is unknown."""

    def abort(self, upload: Upload) -> None:
        """Forget an upload and free its parts; one that is unknown is no error."""

    def unfinished_uploads(self, prefix: str) -> Iterator[Upload]:
        """Uploads that were started under the prefix and not finished, where the store can list them; `started` is
        set."""
