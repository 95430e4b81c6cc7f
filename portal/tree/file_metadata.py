"""What programs say of a file: its kind, modality, classification, info and tags; checked, and written to its row."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import BadValue, NotAllowed
from portal.models import DICOM, File, Project, now, writing
from portal.tree import containers, files

MAX_TEXT = 255
MAX_INFO_BYTES = 1_000_000
"""Bytes of the info of one file as JSON."""
MAX_DEPTH = 20
MAX_TAGS = 500
MAX_MEMBERS = 10_000_000
_LARGEST_NUMBER = 2**63
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE = re.compile(rf'{_WORD}/{_WORD}( *; *{_WORD}=({_WORD}|"[ !#-\[\]-~]*"))*')
"""A media type with parameters (RFC 9110 8.3.1, 5.6.6)."""


@dataclass(frozen=True, kw_only=True)
class FileMetadata:
    """What an upload or a change says of a file; None for what it does not say."""

    name: str | None = None
    """The file of an upload that it is about."""
    type: str | None = None
    mimetype: str | None = None
    modality: str | None = None
    classification: dict[str, list[str]] | None = None
    tags: list[str] | None = None
    info: dict[str, Any] | None = None
    zip_member_count: int | None = None

    @classmethod
    def parse(cls, value: Any) -> Self:
        """From JSON; fields that Portico does not keep are ignored. Raises BadValue for a value of a wrong type."""
        if not isinstance(value, dict):
            raise BadValue("The metadata of a file must be an object.", field="metadata")
        known = {field.name for field in fields(cls)}
        given = {name: one for name, one in value.items() if name in known and one not in (None, "")}
        for name, one in given.items():
            _CHECKS[name](name, one)
        return cls(**given)

    @property
    def columns(self) -> dict[str, Any]:
        """What is to be written, by column."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "name"}
        return {name: value for name, value in values.items() if value is not None}


NOTHING = FileMetadata()


def is_media_type(text: str) -> bool:
    """Whether a text can be the Content-Type of an answer."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def check_json(value: Any, depth: int = 1) -> None:
    """Raise BadValue for JSON that is nested too deeply, or has a text or a number that no database keeps."""
    if depth > MAX_DEPTH:
        raise BadValue(f"The metadata is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise BadValue("The metadata contains a text with NUL or with an unpaired surrogate.")
    elif isinstance(value, dict):
        for name, inner in value.items():
            check_json(name, depth)
            check_json(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            check_json(inner, depth + 1)
    elif isinstance(value, int | float) and not abs(value) < _LARGEST_NUMBER:  # also refuses NaN
        raise BadValue("The metadata contains a number that is too large.")


def describe(file: File, said: FileMetadata) -> list[str]:
    """Set what an upload says of its file, inside the caller's write block. Returns the names of what changed."""
    values = said.columns
    if DICOM in (file.mimetype, said.mimetype):
        values.pop("mimetype", None)
    if file.mimetype == DICOM:
        values.pop("type", None)  # what it is, its bytes say better
    changed = {name: value for name, value in values.items() if getattr(file, name) != value}
    if changed:
        File.update(changed).where(File.id == file.id).execute()
    return sorted(changed)


def change(file_id: int, said: FileMetadata, *, actor: Actor) -> None:
    """Change a file; another modality clears the classification. Raises Missing, NotAllowed, BadValue."""
    if not said.columns:
        raise BadValue("The body says nothing that could be changed.")

    def new_values(file: File) -> dict[str, Any]:
        values = said.columns
        if file.mimetype == DICOM and values.get("type", "dicom") != "dicom":
            raise BadValue("A DICOM object is of the type dicom.", field="type")
        values.pop("mimetype", None)
        if values.get("modality", file.modality) != file.modality and said.classification is None:
            custom = {name: value for name, value in file.classification.items() if name == "Custom"}
            values["classification"] = custom
        return values

    _change(file_id, "file:changed", new_values, actor=actor)


def change_info(file_id: int, delta: Mapping[str, Any], *, actor: Actor) -> dict[str, Any]:
    """Change info by `set`, `replace` and `delete` (a list of names); return the new one. Raises BadValue."""
    changed: dict[str, Any] = {}

    def new_values(file: File) -> dict[str, Any]:
        info = dict(file.info if delta.get("replace") is None else _object("replace", delta["replace"]))
        info |= _object("set", delta.get("set") or {})
        for name in _texts("delete", delta.get("delete") or []):
            info.pop(name, None)
        _check_info("info", info)
        changed.update(info)
        return {"info": info}

    _change(file_id, "file:changed", new_values, actor=actor)
    return changed


def change_classification(file_id: int, delta: Mapping[str, Any], *, actor: Actor) -> None:
    """Change the classification by `add`, `replace` and `delete`, and the modality. Raises BadValue."""
    parts = {name: delta.get(name) or {} for name in ("add", "delete")}
    replaced, modality = delta.get("replace"), delta.get("modality")
    for name, one in (*parts.items(), ("replace", replaced or {})):
        _check_classification(name, one)

    def new_values(file: File) -> dict[str, Any]:
        result: dict[str, list[str]] = dict(file.classification if replaced is None else replaced)
        for name, added in parts["add"].items():
            result[name] = [*result.get(name, []), *(one for one in added if one not in result.get(name, []))]
        for name, removed in parts["delete"].items():
            result[name] = [one for one in result.get(name, []) if one not in removed]
        _check_classification("classification", result)
        values: dict[str, Any] = {"classification": {name: kept for name, kept in result.items() if kept}}
        if modality is not None:
            _check_text("modality", modality)
            values["modality"] = modality
        return values

    _change(file_id, "file:changed", new_values, actor=actor)


def change_tags(file_id: int, change_list: Callable[[list[str]], list[str]], *, actor: Actor) -> list[str]:
    """Set the tags to what `change_list` makes of the present ones; return them. Raises BadValue."""
    changed: list[str] = []

    def new_values(file: File) -> dict[str, Any]:
        tags = list(dict.fromkeys(change_list(list(file.tags))))
        _check_tags("tags", tags)
        changed.extend(tags)
        return {"tags": tags}

    _change(file_id, "file:changed", new_values, actor=actor)
    return changed


def writable(file_id: int, actor: Actor) -> tuple[File, Project]:
    """A file that the actor may change, and its project. Raises Missing, NotAllowed."""
    scope = rights.scope(actor)
    file = files.get(file_id, scope)
    project = containers.project_of(containers.get(file.parent_type, file.parent_id, scope))
    if not scope.writes(project.id):
        raise NotAllowed("You can read this project but not write to it. Ask a site admin for write access.")
    return file, project


def _change(file_id: int, action: str, new_values: Callable[[File], dict[str, Any]], *, actor: Actor) -> None:
    with writing():
        file, _ = writable(file_id, actor)
        changed = {name: value for name, value in new_values(file).items() if getattr(file, name) != value}
        if not changed:
            return
        File.update(changed | {"modified": now()}).where(File.id == file.id).execute()
        # Values may tell of a patient: the log has the names of the columns alone.
        audit.record(actor, action, "file", file.id, changed=sorted(changed))


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise BadValue(f"{name} must be a text of 1 to {MAX_TEXT} visible characters.", field=name)


def _check_media_type(name: str, value: Any) -> None:
    _check_text(name, value)
    if not is_media_type(value):
        raise BadValue(f"{name} must be a media type in ASCII, such as image/png or text/plain.", field=name)


def _check_info(name: str, value: Any) -> None:
    _object(name, value)
    check_json(value)
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_INFO_BYTES:
        raise BadValue(f"{name} has more than {MAX_INFO_BYTES:,} bytes.", field=name)


def _check_tags(name: str, value: Any) -> None:
    if len(_texts(name, value)) > MAX_TAGS:
        raise BadValue(f"{name} has more than {MAX_TAGS} entries.", field=name)


def _check_classification(name: str, value: Any) -> None:
    if len(_object(name, value)) > MAX_TAGS:
        raise BadValue(f"{name} has more than {MAX_TAGS} entries.", field=name)
    for key, inner in value.items():
        _check_text(name, key)
        _check_tags(f"{name}.{key}", inner)


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_MEMBERS:
        raise BadValue(f"{name} must be a number from 0 to {MAX_MEMBERS:,}.", field=name)


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadValue(f"{name} must be an object.", field=name)
    return value


def _texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise BadValue(f"{name} must be a list of texts.", field=name)
    for one in value:
        _check_text(name, one)
    return value


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "name": _check_text,
    "type": _check_text,
    "mimetype": _check_media_type,
    "modality": _check_text,
    "classification": _check_classification,
    "tags": _check_tags,
    "info": _check_info,
    "zip_member_count": _check_count,
}
