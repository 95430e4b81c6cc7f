"""What was done to one peer, device or storage, from the audit log: by whom, when, and what it changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from peewee import JOIN, fn

from portal import origins
from portal.models import ApiKey, Audit, Device, User

Kind = Literal["peer", "device", "storage"]

MOST = 8
"""Acts that a page shows."""
LONGEST = 80
"""Signs of a value that is shown."""
_NO_CHANGE = ("peer:echoed", "storage:tested")


@dataclass(frozen=True, kw_only=True)
class Change:
    """A field with its values as text."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Past:
    """One act, with the name of today of who did it."""

    row: Audit
    who: origins.Named
    what: str
    """In a word or two: Edited, Key revoked."""
    changes: tuple[Change, ...]


def of(kind: Kind, number: int) -> list[Past]:
    """What changed a peer, a storage or a device, its keys too, the last first; one statement."""
    by_user, by_device = (Audit.actor_type == "user"), (Audit.actor_type == "device")
    actor_id = Audit.actor_id.cast("INTEGER")
    found: Any = Audit.select(Audit, fn.COALESCE(User.email, Device.label, "").alias("name"))
    found = found.join(User, JOIN.LEFT_OUTER, on=by_user & (User.id == actor_id)).switch(Audit)
    found = found.join(Device, JOIN.LEFT_OUTER, on=by_device & (Device.id == actor_id))
    found = found.where(about(kind, number), Audit.action.not_in(_NO_CHANGE))
    return [_past(row) for row in found.order_by(Audit.id.desc()).limit(MOST).objects()]


def about(kind: str, number: int) -> Any:
    """The acts on one of them as a condition, which the index of targets answers."""
    condition: Any = (Audit.target_type == kind) & (Audit.target_id == str(number))
    if kind == "device":
        keys = ApiKey.select(ApiKey.key_id).where(ApiKey.owner_type == kind, ApiKey.owner_id == number)
        condition = condition | ((Audit.target_type == "key") & Audit.target_id.in_(keys))
    return condition


def named(search: str) -> Sequence[Any]:
    """What a search for `peer 7`, `device 7`, `storage 7` or `user 7` asks for beyond what holds that text."""
    found = origins.asked(search)
    return (about(found[0], int(found[1])),) if found else ()


def _past(row: Any) -> Past:
    who = origins.Named(type=row.actor_type, id=row.actor_id, name=row.name)
    return Past(row=row, who=who, what=_what(row.action, row.detail), changes=_changes(row.detail))


def _what(action: str, detail: dict[str, Any]) -> str:
    noun, _, verb = action.partition(":")
    words = verb.replace("_", " ")
    if noun == "storage" and detail.get("secret"):
        words += ", with new credentials"
    return (f"{noun} {words}" if noun == "key" else words).capitalize()


def _changes(detail: dict[str, Any]) -> tuple[Change, ...]:
    before, after = detail.get("before"), detail.get("after")
    if isinstance(before, dict) and isinstance(after, dict):
        gone = dict.fromkeys(before.get("config") or {}) if "config" in after else {}
        before, after = _flat(before), gone | _flat(after)
        fields = [field for field in after if before.get(field) != after[field]]
        return tuple(_change(field, before.get(field), after[field]) for field in fields)
    if isinstance(before, str) and isinstance(after, str):
        return (_change("label", before, after),)
    return ()


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a storage field by field beside the others; one of them may be gone."""
    config = values.get("config")
    return {name: value for name, value in values.items() if name != "config"} | (config or {})


def _change(field: str, before: Any, after: Any) -> Change:
    return Change(field=field.replace("_", " "), before=_text(before), after=_text(after))


def _text(value: Any) -> str:
    """A value as people read it; nothing where there is none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(":".join(map(str, one)) if isinstance(one, list) else str(one) for one in value)
    text = str(value if value is not None else "") or "none"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
