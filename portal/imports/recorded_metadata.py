"""What a sidecar or a manifest records of an object, read back and checked: nothing of it is believed as it stands."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

from portal.access import origins
from portal.access.actors import ActorType, Origin, RecordedMetadata
from portal.dicom import uids
from portal.errors import BadValue, NotDicom
from portal.exports import sidecars
from portal.exports.manifest_reader import Entry
from portal.tree import files

MAX_SIDECAR_BYTES = 1 << 20
"""Bytes of a sidecar."""
MAX_LABEL_LENGTH = 128
"""Labels that follow from a header may be longer than those that people give."""
MAX_TEXT_LENGTH = 256
MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w.+-]{0,99}/[A-Za-z0-9][\w.+-]{0,99}", re.ASCII)
LEVELS = ("project", "subject", "session", "acquisition")
INVALID_SIDECAR = "Its sidecar is no document of Portico, or says what cannot be."
Columns = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Document:
    """What is recorded of one object."""

    origin: Origin
    recorded: RecordedMetadata
    digest: str
    name: str = ""
    """Empty where only the manifest tells of it."""
    name_of_file: str = ""
    """Of an older version that the manifest tells of: the name of its file, which its key is not."""
    containers: tuple[tuple[str, Columns], ...] = field(default=())
    """Kind and columns of each container, from the subject down to the one that it lies in."""


def from_sidecar(content: bytes, *, signed: bool) -> Document:
    """`signed` by this site's manifest: only then are numbers of users and devices taken for those of here.

    Raises BadValue.
    """
    try:
        told = json.loads(content)
        if told.get("format") != sidecars.FORMAT:
            raise BadValue(INVALID_SIDECAR)
        return _document(told, signed)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, NotDicom) as error:
        raise BadValue(INVALID_SIDECAR) from error


def from_manifest_entry(entry: Entry, *, signed: bool) -> Document | None:
    """By the entry of a manifest that this site has `signed`, or not; None where it tells nothing. Raises BadValue."""
    if "origin" not in entry:
        return None
    try:
        origin = _origin(entry["origin"], None if signed else _text(entry["site"]))
        return Document(
            origin=origin,
            recorded=RecordedMetadata(received=_moment(entry["received"]), version=_version(entry.get("version"))),
            digest=entry["sha256"],
            name_of_file=files.clean_name(entry["name"]) if entry.get("name") else "",
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise BadValue("Its entry in the manifest says what cannot be.") from error


def _document(told: Mapping[str, Any], signed: bool) -> Document:
    of_file = told["file"]
    is_ours = signed and told["site"]["id"] == sidecars.site_id()
    site = None if is_ours else _text(told["site"]["name"])
    depth = LEVELS.index(of_file["level"])
    return Document(
        origin=_origin(of_file["origin"], site),
        recorded=RecordedMetadata(
            received=_moment(of_file["received"]),
            modified=_moment(of_file["modified"]),
            type=_optional(of_file["type"]),
            mimetype=_media_type(of_file["mimetype"]),
            version=_version(of_file.get("version")),
        ),
        digest=_text(of_file["sha256"]),
        name=files.clean_name(of_file["name"]),
        containers=tuple((level, _container(level, told[level], site)) for level in LEVELS[1 : depth + 1]),
    )


def _container(level: str, told: Mapping[str, Any], site: str | None) -> Columns:
    columns: Columns = {
        "label": _label(told["label"]),
        **_origin(told["origin"], site).fields,
        "created": _moment(told["received"]),
        "modified": _moment(told["modified"]),
    }
    if level == "subject":
        return columns | {"patient_id": _text(told["patient_id"]), "issuer": _text(told["issuer"])}
    uid, moment = told["uid"], told["timestamp"]
    return columns | {
        "uid": uids.clean(uid, name="Its UID") if uid else None,
        "timestamp": _moment(moment) if moment else None,
    }


def _origin(told: Mapping[str, Any], site: str | None) -> Origin:
    """As it is recorded; of another site (not None) its number is told apart from the numbers here."""
    kind, number, via = told["type"], _text(told["id"]), _text(told["via"])
    if kind not in get_args(ActorType):
        raise BadValue(INVALID_SIDECAR)
    if site is not None:
        number = origins.foreign_id(number, site, _text(told.get("name", "")))
    return Origin(type=kind, id=number, via=via)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or not 1 < moment.year < 9999:  # these are years in every time zone
        raise BadValue(INVALID_SIDECAR)
    return moment.astimezone(UTC)


def _version(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= files.MAX_VERSION_NUMBER:
        raise BadValue(INVALID_SIDECAR)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT_LENGTH or "\0" in value:
        raise BadValue(INVALID_SIDECAR)
    value.encode()  # raises ValueError for half a character
    return value


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)


def _media_type(value: Any) -> str | None:
    """It becomes a header of a download."""
    told = _optional(value)
    if told and not MEDIA_TYPE.fullmatch(told):
        raise BadValue(INVALID_SIDECAR)
    return told


def _label(value: Any) -> str:
    label = _text(value)
    if not label.strip() or len(label) > MAX_LABEL_LENGTH or not label.isprintable() or "/" in label:
        raise BadValue(INVALID_SIDECAR)
    return label
