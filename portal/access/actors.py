"""Who did it, and by what way: the actor of a request and the origin that stays on what it wrote."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self, TypedDict

ActorType = Literal["user", "device", "peer", "job", "system"]


class OriginFields(TypedDict):
    origin_type: str
    origin_id: str
    origin_via: str


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What stays on a row: `id` is the actor's row number as text, `via` a key id, an AE title + address, a program."""

    type: ActorType
    id: str = ""
    via: str = ""

    @property
    def fields(self) -> OriginFields:
        """The columns of a `models.Owned` row."""
        return {"origin_type": self.type, "origin_id": self.id, "origin_via": self.via}


@dataclass(frozen=True, kw_only=True)
class RecordedMetadata:
    """What is recorded elsewhere of an object that comes back: it is not of the moment in which it is taken in."""

    received: datetime | None = None
    modified: datetime | None = None
    type: str | None = None
    mimetype: str | None = None
    version: int | None = None
    """Which version of its file it was."""

    @property
    def moments(self) -> dict[str, datetime]:
        """The columns of a `models.Owned` row that are known."""
        known = {"created": self.received, "modified": self.modified or self.received}
        return {name: moment for name, moment in known.items() if moment is not None}

    @property
    def kind(self) -> dict[str, str]:
        """The columns of a file that is no DICOM object."""
        known = {"type": self.type if self.type != "dicom" else None, "mimetype": self.mimetype}
        return {name: text for name, text in known.items() if text}

    def written(self) -> dict[str, Any]:
        """For the archive's record."""
        moments = {"received": self.received, "modified": self.modified}
        written = {name: moment and moment.isoformat() for name, moment in moments.items()}
        return {**written, "type": self.type, "mimetype": self.mimetype, "version": self.version}

    @classmethod
    def read(cls, written: dict[str, Any]) -> Self:
        moments = {name: written[name] and datetime.fromisoformat(written[name]) for name in ("received", "modified")}
        return cls(**{**written, **moments})


NOTHING_RECORDED = RecordedMetadata()


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who asks for something. Only `rights` decides what that allows."""

    type: ActorType
    id: str = ""
    name: str = ""
    via: str = ""
    address: str = ""
    is_admin: bool = False
    read_only: bool = False
    """A key that was narrowed to reading: whatever else the actor may do, it changes nothing."""

    @property
    def origin(self) -> Origin:
        return Origin(type=self.type, id=self.id, via=self.via)


def operator() -> Actor:
    """Who types a command on the server itself: it can read and write the files, so nothing is kept from it."""
    return Actor(type="system", name="operator", via="portal", is_admin=True)
