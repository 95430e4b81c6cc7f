"""Devices: machines and programs that use the REST interface with a key."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from peewee import SQL

from portal.access import audit, rights
from portal.access.actors import Actor
from portal.devices import api_keys
from portal.errors import BadValue, Missing, NotAllowed, Taken
from portal.models import ApiKey, Blob, Device, File, User, now, writing
from portal.tree import labels, rest_ids

TYPES = ("connector", "importer", "reaper")
MAX_INTERVAL = 366 * 24 * 3600
MAX_VERSION_LENGTH, MAX_ERROR_LENGTH = 100, 1000
MAX_ERRORS, MAX_INFO_LENGTH = 100, 64_000
RECENT_FILES = 5
"""Files that the page of a device shows."""


def add(label: str, type: str | None = None, *, actor: Actor) -> Device:
    """A new device; the user who adds it answers for it. It can do nothing before it has a key."""
    rights.require_admin(actor)
    label, kind = labels.clean(label), _type(type)
    with writing():
        _refuse_taken(label)
        row = Device.create(label=label, type=kind, sponsor=_sponsor(actor), **actor.origin.fields)
        audit.record(actor, "device:added", "device", row.id, label=label, type=kind)
    return row


def rename(device: str | int, label: str, *, actor: Actor) -> Device:
    """Give a device another label; its keys and its origin on data stay its own."""
    rights.require_admin(actor)
    label = labels.clean(label)
    with writing():
        row = get(device)
        if label != row.label:
            _refuse_taken(label)
            Device.update(label=label, modified=now()).where(Device.id == row.id).execute()
            audit.record(actor, "device:renamed", "device", row.id, before=row.label, after=label)
    return get(row.id)


def change(device: str | int, *, label: str | None, disabled: bool | None, actor: Actor) -> Device:
    """Rename, disable or enable in one act; None leaves as it is."""
    rights.require_admin(actor)
    with writing():
        row = get(device)
        if label is not None:
            row = rename(row.id, label, actor=actor)
        if disabled is not None:
            row = _switch(row.id, disabled=disabled, actor=actor)
    return row


def disable(device: str | int, *, actor: Actor) -> Device:
    """Refuse all keys of a device, without revoking them."""
    return _switch(device, disabled=True, actor=actor)


def enable(device: str | int, *, actor: Actor) -> Device:
    return _switch(device, disabled=False, actor=actor)


def remove(device: str | int, *, actor: Actor) -> None:
    """Take a device and its keys away; its number is never used again, so what it brought in keeps its origin."""
    rights.require_admin(actor)
    with writing():
        row = get(device)
        ApiKey.delete().where(ApiKey.owner_type == "device", ApiKey.owner_id == row.id).execute()
        Device.delete().where(Device.id == row.id).execute()
        audit.record(actor, "device:removed", "device", row.id, label=row.label)


def get(device: str | int) -> Device:
    """By label (text) or row number. Raises Missing."""
    wanted = Device.id == device if isinstance(device, int) else Device.label == device
    row: Device | None = Device.select(Device, User).left_outer_join(User).where(wanted).get_or_none()
    if row is None:
        raise Missing(f"There is no device {str(device)[:64]!r}.", field="device")
    return row


def recent_files(device: Device) -> list[File]:
    """The files that it wrote last and that are still there, the last first; by an index."""
    found = File.select(File, Blob).join(Blob).where(File.origin_type == SQL("'device'"), File.deleted_at.is_null())
    return list(found.where(File.origin_id == str(device.id)).order_by(File.id.desc()).limit(RECENT_FILES))


def list_all() -> list[Device]:
    """All devices by label."""
    return list(Device.select().order_by(Device.label))


def record_report(told: Mapping[str, Any], *, actor: Actor) -> Device:
    """What a device says of itself: any of type, version, interval (seconds), errors and info. Raises BadValue.

    Errors stay until the device sends another list. The type can be told once.
    """
    if actor.type != "device":
        raise NotAllowed("Only a device may report as a device. Use its key.")
    values = {name: _TOLD[name](value) for name, value in told.items() if name != "type"}
    with writing():
        row = get(int(actor.id))
        if "type" in told and told["type"] != row.type:
            if row.type is not None:
                raise BadValue("Cannot change device type", field="type")
            values["type"] = _type(told["type"])
            audit.record(actor, "device:type_set", "device", row.id, type=values["type"])
        changed = {"modified": now()} if values else {}
        fresh = {"last_seen": now(), "last_address": actor.address} | changed | values
        Device.update(fresh).where(Device.id == row.id).execute()
    return get(row.id)


def status(device: Device) -> str:
    """disabled, or else how it fares: error | unknown | missing | ok."""
    return "disabled" if device.disabled else health(device)


def state(device: Device) -> str:
    """`status` as pages say it: in place of unknown, seen (it reports no interval) or never (it was not seen yet)."""
    found = status(device)
    if found != "unknown":
        return found
    return "never" if device.last_seen is None else "seen"


def health(device: Device) -> str:
    """error: it reported errors. unknown: it was never seen or told no interval. missing: silent for longer. ok."""
    if device.errors:
        return "error"
    if device.interval is None or device.last_seen is None:
        return "unknown"
    return "missing" if (now() - device.last_seen).total_seconds() > device.interval else "ok"


def view(device: Device) -> dict[str, Any]:
    """One device for `--json` and pages; `keys` counts the live ones."""
    listed = [api_keys.view(row) for row in api_keys.for_device(device)]
    live = sorted(key["expires_at"] for key in listed if key["state"] in api_keys.LIVE_STATES)
    return {
        "id": rest_ids.encode("device", device.id),
        "label": device.label,
        "type": device.type,
        "status": status(device),
        "version": device.version,
        "interval": device.interval,
        "errors": device.errors,
        "disabled": device.disabled,
        "sponsor": device.sponsor and device.sponsor.email,
        "created": device.created,
        "last_seen": device.last_seen,
        "last_address": device.last_address,
        "keys": len(live),
        "next_expiry": live[0] if live else None,
        "api_keys": listed,
    }


def _switch(device: str | int, *, disabled: bool, actor: Actor) -> Device:
    rights.require_admin(actor)
    with writing():
        row = get(device)
        if row.disabled != disabled:
            Device.update(disabled=disabled, modified=now()).where(Device.id == row.id).execute()
            audit.record(actor, "device:disabled" if disabled else "device:enabled", "device", row.id, label=row.label)
    return get(row.id)


def _refuse_taken(label: str) -> None:
    if Device.select().where(Device.label == label).exists():
        raise Taken(f"There is a device {label} already. Choose another label.", field="label")


def _sponsor(actor: Actor) -> User | None:
    return User.get_or_none(User.id == int(actor.id)) if actor.type == "user" else None


def _type(value: Any) -> str | None:
    if value is not None and value not in TYPES:
        raise BadValue(f"The type of a device is one of: {', '.join(TYPES)}.", field="type")
    return str(value) if value else None


def _version(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_VERSION_LENGTH or not value.isprintable():
        raise BadValue(f"The version is a text of 1 to {MAX_VERSION_LENGTH} visible characters.", field="version")
    return value


def _interval(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_INTERVAL:
        raise BadValue(f"The interval is a number of seconds from 1 to {MAX_INTERVAL}.", field="interval")
    return value


def _errors(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_ERRORS or not all(map(_is_error, value)):
        message = f"The errors are a list of at most {MAX_ERRORS} texts of {MAX_ERROR_LENGTH} characters each."
        raise BadValue(message, field="errors")
    return value


def _is_error(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= MAX_ERROR_LENGTH


def _info(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or len(json.dumps(value)) > MAX_INFO_LENGTH:
        raise BadValue(f"The info is an object of at most {MAX_INFO_LENGTH} characters.", field="info")
    return value


_TOLD: dict[str, Callable[[Any], Any]] = {
    "version": _version,
    "interval": _interval,
    "errors": _errors,
    "info": _info,
}
