"""The metadata that a sidecar or a manifest records of an object, read back and validated field by field."""

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
MAX_LABEL_LENGTH = 128
"""Labels made from a header may be longer than those that people enter."""
MAX_TEXT_LENGTH = 256
MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w.+-]{0,99}/[A-Za-z0-9][\w.+-]{0,99}", re.ASCII)
LEVELS = ("project", "subject", "session", "acquisition")
INVALID_SIDECAR = "Its sidecar is not a document of Portico, or has invalid values."
Columns = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Document:
    """What is recorded of one object."""

    origin: Origin
    recorded: RecordedMetadata
    digest: str
    name: str = ""
    """Empty if only the manifest records it."""
    name_of_file: str = ""
    """Of an older version in the manifest: the name of its file, which its key does not end with."""
    containers: tuple[tuple[str, Columns], ...] = field(default=())
    """Kind and columns of each container, from the subject down to its own."""


def from_sidecar(content: bytes, *, signed: bool) -> Document:
    """Raises BadValue.

    Only if this site has `signed` the manifest are the numbers of users and devices taken as this site's own.
    """
    try:
        document = json.loads(content)
        if document.get("format") != sidecars.FORMAT:
            raise BadValue(INVALID_SIDECAR)
        recorded = document["file"]
        is_ours = signed and document["site"]["id"] == sidecars.site_id()
        site = None if is_ours else _text(document["site"]["name"])
        levels = LEVELS[1 : LEVELS.index(recorded["level"]) + 1]
        media_type = _optional(recorded["mimetype"])
        if media_type and not MEDIA_TYPE.fullmatch(media_type):  # it becomes a header of a download
            raise BadValue(INVALID_SIDECAR)
        return Document(
            origin=_origin(recorded["origin"], site),
            recorded=RecordedMetadata(
                received=_moment(recorded["received"]),
                modified=_moment(recorded["modified"]),
                type=_optional(recorded["type"]),
                mimetype=media_type,
                version=_version(recorded.get("version")),
            ),
            digest=_text(recorded["sha256"]),
            name=files.clean_name(recorded["name"]),
            containers=tuple((level, _container(level, document[level], site)) for level in levels),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, NotDicom) as error:
        raise BadValue(INVALID_SIDECAR) from error


def from_manifest_entry(entry: Entry, *, signed: bool) -> Document | None:
    """As `from_sidecar`, for an entry of a manifest; None if it records no origin. Raises BadValue."""
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
        raise BadValue("Its entry in the manifest has invalid values.") from error


def _container(level: str, recorded: Mapping[str, Any], site: str | None) -> Columns:
    label = _text(recorded["label"])
    if not label.strip() or len(label) > MAX_LABEL_LENGTH or not label.isprintable() or "/" in label:
        raise BadValue(INVALID_SIDECAR)
    columns: Columns = {
        "label": label,
        **_origin(recorded["origin"], site).fields,
        "created": _moment(recorded["received"]),
        "modified": _moment(recorded["modified"]),
    }
    if level == "subject":
        return columns | {"patient_id": _text(recorded["patient_id"]), "issuer": _text(recorded["issuer"])}
    uid, moment = recorded["uid"], recorded["timestamp"]
    return columns | {
        "uid": uids.clean(uid, name="Its UID") if uid else None,
        "timestamp": _moment(moment) if moment else None,
    }


def _origin(recorded: Mapping[str, Any], site: str | None) -> Origin:
    """The origin; from another `site` (not None) its number is marked as not one of this site's."""
    kind, number, via = recorded["type"], _text(recorded["id"]), _text(recorded["via"])
    if kind not in get_args(ActorType):
        raise BadValue(INVALID_SIDECAR)
    if site is not None:
        number = origins.foreign_id(number, site, _text(recorded.get("name", "")))
    return Origin(type=kind, id=number, via=via)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or not 1 < moment.year < 9999:  # valid years in every time zone
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
    value.encode()  # raises ValueError for a lone surrogate
    return value


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)
