"""What each provider gives: one place outside for one thread, a request a call, with its errors in words."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from portal.errors import BadValue, Damaged, Outage, Unreachable

MIB = 1 << 20
Body = bytes | bytearray | memoryview
"""What goes to a store by one request."""
CHUNK_SIZE = MIB // 4
"""Bytes of one piece of what is read: they are hashed, and copied, while the processor still has them in its cache."""


class Part(NamedTuple):
    """A part of an object, counted from 0; `digest` is its SHA-256 in hex, where the store signs each (`signs`)."""

    number: int
    offset: int
    body: memoryview
    digest: str = ""


class Interrupted(Unreachable):
    """No answer, half an answer, or a server that asks for patience: the same request may succeed a moment later.

    Whether the request was carried out is not known. `after` is for how many seconds the server asked.
    """

    def __init__(self, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class ContainerMissing(Outage):
    """The bucket, container or folder itself is not there, and with it no object. Only a mount comes back by itself."""

    permanent = True


class ObjectLost(Unreachable):
    """The store took an object, or parts of one, and does not have them: of this object alone, which is sent anew."""


class Unsupported(BadValue):
    """The store does not know something that was asked of it."""


class StepWarning(Exception):
    """A step of the test that went well, but not in every way that we should like."""


class ReadBackDiffers(BadValue):
    """The store gives back other bytes than were sent."""


class FileExtent(NamedTuple):
    """Where content begins in a file of this machine's disks."""

    file: str
    offset: int


def _ignore(_length: int) -> None:
    pass


@dataclass(kw_only=True)
class Content:
    """An object that is to be brought to a store, and read back there."""

    key: str
    size: int
    digest: str
    """SHA-256 in hex."""
    chunks: Callable[[], Iterable[bytes]]
    """Its bytes; may raise on the way."""
    came: Callable[[int], None] = _ignore
    """Hears of each piece, in bytes, that is read back; may wait, or raise."""
    source: "bytes | FileExtent | None" = None
    """The same bytes for another process of ours; None where they come by `chunks` alone."""
    sent: bool = False
    """Whether the store has said that it took it, which proves nothing yet."""


@dataclass(frozen=True)
class Stat:
    """What the store says of an object."""

    key: str
    size: int
    checksum: str = field(default="", compare=False)
    """SHA-256 of the whole object in hex, where the store keeps it."""


@dataclass
class Upload:
    """An upload by parts that is not finished. A provider may keep more of its own in a child."""

    name: str
    id: str
    size: int = 0
    overwrite: bool = False
    parts: dict[int, str] = field(default_factory=dict)
    """What the store answered to each part, by its number."""

    @property
    def answers(self) -> list[str]:
        """The same in the order of the parts."""
        return [self.parts[number] for number in sorted(self.parts)]

    since: datetime | None = None


class ListProgress:
    """What one list has brought so far, of which nothing may come twice: else it would go round for ever.

    It keeps a number of each, not the thing, so that a list of any length takes little memory.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def require(self, *things: object) -> None:
        """Raise Damaged where none of these is new."""
        before = len(self._seen)
        self._seen.update(map(hash, things))
        if len(self._seen) == before:
            raise Damaged("The storage says again and again that its list goes on. It cannot be listed.")


NamedStep = tuple[str, Callable[[], str]]
"""A step of the test: its name, and what it does. That returns a sentence, or raises PortalError or Remark."""


class Store(Protocol):
    """One bucket, container or folder; names are whole, with the storage's prefix. A thread has its own.

    Nothing here tries twice or looks before it writes: `Destination` does, the same way for all. Every method raises
    Interrupted where another try may help, and else NotAllowed (credentials, rights), NoSpace, NoPlace, Unreachable
    (`permanent` for what waits for a person: TLS) or Damaged, with one sentence. Missing is never the place itself.
    """

    create_only: bool | None
    """Whether the place refuses to write over an object. None: not tried yet. False: its refusal is not asked for."""
    mount: str
    """Where its disk is mounted, once it was reached; empty for that of the system, and for what is no folder."""
    by_name: bool
    """Whether every list is in the order of the names, each of which is Unicode."""
    longest: int
    """Bytes that a name may have."""

    def read(self, name: str, offset: int, size: int | None) -> Iterator[bytes]:
        """A range of an object, to its end if no size is given. Raises Missing."""

    def stat(self, name: str) -> Stat | None: ...

    def delete(self, name: str) -> None:
        """Raises Missing, where the store tells."""

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Stat]]:
        """Objects whose names begin with `prefix` and come after `after`, in the order of their UTF-8 bytes."""

    def steps(self) -> Sequence[NamedStep]:
        """The first steps of the test, up to: the bucket is found."""


class ObjectStore(Store, Protocol):
    """One that takes an object by a request, or by several for a large one."""

    small: int
    """Bytes up to which an object is sent by one request."""
    part: int
    """Bytes of each part of a larger one, at least."""
    any_order: bool
    """Whether the parts of one object may come in any order, and several at once from different threads."""
    signs: bool
    """Whether a part goes with its SHA-256."""
    most_parts: int

    def put(self, name: str, body: bytes, *, digest: str, overwrite: bool) -> None:
        """Write a whole object durably. Raises Taken where one is there and `overwrite` is not asked for."""

    def begin(self, name: str, *, size: int, overwrite: bool) -> Upload: ...

    def send(self, upload: Upload, part: Part) -> None:
        """Send a part. The same one may come twice. Where they come in order, the last may make the object appear.

        Raises Missing where the upload is unknown.
        """

    def finish(self, upload: Upload) -> None:
        """Make the object appear at its name, durably. Raises Taken as `put`; Missing where a part of it is unknown."""

    def abort(self, upload: Upload) -> None:
        """Forget an upload and free its parts; one that is unknown is no error."""

    def unfinished(self, prefix: str) -> Iterator[Upload]:
        """Uploads that were begun under the prefix and not finished, where the store can tell; `since` is set."""
