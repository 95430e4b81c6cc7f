"""The actor of a request, and the origin that is stored with everything it writes."""

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
    """Who wrote a row: `id` is the actor's row number as text, `via` a key id, an AE title + address, or a program."""

    type: ActorType
    id: str = ""
    via: str = ""

    @property
    def fields(self) -> OriginFields:
        """The columns of a `models.Owned` row."""
        return {"origin_type": self.type, "origin_id": self.id, "origin_via": self.via}


@dataclass(frozen=True, kw_only=True)
class RecordedMetadata:
    """What an export or a record says about an object that is imported again, and is older than its import."""

    received: datetime | None = None
    modified: datetime | None = None
    type: str | None = None
    mimetype: str | None = None
    version: int | None = None
    """The version of its file that the object was."""

    @property
    def timestamps(self) -> dict[str, datetime]:
        """The known columns of a `models.Owned` row."""
        known = {"created": self.received, "modified": self.modified or self.received}
        return {name: timestamp for name, timestamp in known.items() if timestamp is not None}

    @property
    def kind(self) -> dict[str, str]:
        """The known columns of a file that is not a DICOM object."""
        was_object = self.mimetype == "application/dicom" or (self.type == "dicom" and not self.mimetype)
        known = {} if was_object else {"type": self.type, "mimetype": self.mimetype}
        return {name: text for name, text in known.items() if text}

    def to_json(self) -> dict[str, Any]:
        """For the record in the archive."""
        timestamps = {"received": self.received, "modified": self.modified}
        texts = {name: timestamp and timestamp.isoformat() for name, timestamp in timestamps.items()}
        return {**texts, "type": self.type, "mimetype": self.mimetype, "version": self.version}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        timestamps = {name: fields[name] and datetime.fromisoformat(fields[name]) for name in ("received", "modified")}
        return cls(**{**fields, **timestamps})


NOTHING_RECORDED = RecordedMetadata()


@dataclass(frozen=True, kw_only=True)
class Narrowing:
    """The group or the project to which an API key is limited, as row numbers: one of them is set."""

    group_id: int | None = None
    project_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who makes a request. Only `rights` decides what the actor may do."""

    type: ActorType
    id: str = ""
    name: str = ""
    via: str = ""
    address: str = ""
    is_admin: bool = False
    read_only: bool = False
    """An API key limited to reading: the actor changes nothing, whatever its other rights."""
    narrowed: Narrowing | None = None
    """An API key limited to one group or project: the actor reaches nothing else, whatever its other rights."""

    @property
    def origin(self) -> Origin:
        return Origin(type=self.type, id=self.id, via=self.via)


def operator() -> Actor:
    """The user of the command line on the server: an admin, who can read and write the files anyway."""
    return Actor(type="system", name="operator", via="portal", is_admin=True)
