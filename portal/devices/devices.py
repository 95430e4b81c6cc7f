"""Devices: machines and programs that use the REST interface with a key."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from peewee import SQL

from portal.access import audit, rights
from portal.access.actors import Actor
from portal.devices import api_keys, device_status, key_narrowing, key_uses
from portal.errors import BadValue, Missing, NotAllowed, Taken
from portal.models import Blob, Device, File, User, now, writing
from portal.tree import labels, rest_ids

TYPES = ("connector", "importer", "reaper")
MAX_INTERVAL = 366 * 24 * 3600
MAX_VERSION_LENGTH, MAX_ERROR_LENGTH = 100, 1000
MAX_ERRORS, MAX_INFO_LENGTH = 100, 64_000
OWNERS_OFFERED = 500
RECENT_FILES = 5
"""Files that the page of a device shows."""


def add(label: str, type: str | None = None, *, owner: str | None = None, actor: Actor) -> Device:
    """A new device. It has no access until it has a key.

    `owner` is the e-mail address of the user who is responsible for it; without one, it is the user who adds it, the
    owner of the device that adds it, or the only site admin. Raises BadValue if none of them exists.
    """
    rights.require_admin(actor)
    label, kind = labels.clean(label), _type(type)
    with writing():
        _refuse_taken(label)
        sponsor = _usual_owner(actor) if owner is None else _owner(owner)
        row = Device.create(label=label, type=kind, sponsor=sponsor, **actor.origin.fields)
        named = {"owner": sponsor.email} if sponsor else {}
        audit.record(actor, "device:added", "device", row.id, label=label, type=kind, **named)
    return row


def rename(device: str | int, label: str, *, actor: Actor) -> Device:
    """Change the label of a device; its keys, and its origin on data, remain."""
    rights.require_admin(actor)
    label = labels.clean(label)
    with writing():
        row = get(device)
        if label != row.label:
            _refuse_taken(label)
            Device.update(label=label, modified=now()).where(Device.id == row.id).execute()
            audit.record(actor, "device:renamed", "device", row.id, before=row.label, after=label)
    return get(row.id)


def change_owner(device: str | int, owner: str, *, actor: Actor) -> Device:
    """Name another user, by e-mail address, as responsible for a device. Raises BadValue."""
    rights.require_admin(actor)
    with writing():
        row, chosen = get(device), _owner(owner)
        if chosen.id != row.sponsor_id:
            Device.update(sponsor=chosen, modified=now()).where(Device.id == row.id).execute()
            before = row.sponsor.email if row.sponsor else None
            audit.record(actor, "device:owner_changed", "device", row.id, before=before, after=chosen.email)
    return get(row.id)


def change(
    device: str | int, *, label: str | None, disabled: bool | None, owner: str | None = None, actor: Actor
) -> Device:
    """Rename, disable, enable, or give another owner, in one transaction; None changes nothing."""
    rights.require_admin(actor)
    with writing():
        row = get(device)
        if label is not None:
            row = rename(row.id, label, actor=actor)
        if owner is not None:
            row = change_owner(row.id, owner, actor=actor)
        if disabled is not None:
            row = _switch(row.id, disabled=disabled, actor=actor)
    return row


def disable(device: str | int, *, actor: Actor) -> Device:
    """Refuse all keys of a device without revoking them."""
    return _switch(device, disabled=True, actor=actor)


def enable(device: str | int, *, actor: Actor) -> Device:
    return _switch(device, disabled=False, actor=actor)


def remove(device: str | int, *, actor: Actor) -> None:
    """Remove a device and revoke its keys; its label becomes free.

    Its row and those of its keys stay, as what it uploaded names them.
    """
    rights.require_admin(actor)
    with writing():
        row = get(device)
        revoked = api_keys.revoke_all(row)
        Device.update(removed=now(), modified=now()).where(Device.id == row.id).execute()
        audit.record(actor, "device:removed", "device", row.id, label=row.label, keys_revoked=revoked)


def get(device: str | int) -> Device:
    """By label (text) or id. Raises Missing, also for a device that was removed."""
    condition = Device.id == device if isinstance(device, int) else Device.label == device
    row: Device | None = _with_owner().where(condition, Device.removed.is_null()).get_or_none()
    if row is None:
        raise Missing(f"There is no device {str(device)[:64]!r}.", field="device")
    return row


def get_even_removed(device_id: int) -> Device:
    """Raises Missing if there never was one."""
    row: Device | None = _with_owner().where(Device.id == device_id).get_or_none()
    if row is None:
        raise Missing(f"There is no device {device_id}.", field="device")
    return row


def recent_files(device: Device) -> list[File]:
    """The latest files of a device that still exist, newest first."""
    files = File.select(File, Blob).join(Blob).where(File.origin_type == SQL("'device'"), File.deleted_at.is_null())
    return list(files.where(File.origin_id == str(device.id)).order_by(File.id.desc()).limit(RECENT_FILES))


def possible_owners() -> list[str]:
    """E-mail addresses to choose an owner from, site admins first; at most 500."""
    rows = User.select(User.email).where(~User.disabled).order_by(User.is_admin.desc(), User.email)
    return [row.email for row in rows.limit(OWNERS_OFFERED)]


def list_all(*, skip: int = 0, limit: int | None = None) -> list[Device]:
    """All devices by label, or a part of them, without those that were removed."""
    return list(_with_owner().where(Device.removed.is_null()).order_by(Device.label).offset(skip).limit(limit))


def record_report(report: Mapping[str, Any], *, actor: Actor) -> Device:
    """Record what a device reports: any of type, version, interval (seconds), errors and info. Raises BadValue.

    Errors remain until the device sends another list. The type can be set once.
    """
    if actor.type != "device":
        raise NotAllowed("Only a device may report as a device. Use its key.")
    if report:
        rights.require_may_write(actor)
    values = {name: value for name, value in report.items() if name != "type"}
    for name, value in values.items():
        _require_valid(name, value)
    with writing():
        row = get(int(actor.id))
        if "type" in report and report["type"] != row.type:
            if row.type is not None:
                raise BadValue("Cannot change device type", field="type")
            values["type"] = _type(report["type"])
            audit.record(actor, "device:type_set", "device", row.id, type=values["type"])
        changed = {"modified": now()} if values else {}
        fresh = {"last_seen": now(), "last_address": actor.address} | changed | values
        Device.update(fresh).where(Device.id == row.id).execute()
    return get(row.id)


def view(device: Device) -> dict[str, Any]:
    """One device for `--json` and pages; `keys` counts the live keys."""
    return views([device])[0]


def views(rows: Sequence[Device]) -> list[dict[str, Any]]:
    """The same of many devices, in their order, with the keys of all by a few statements."""
    keys = api_keys.for_devices(rows)
    every = [key for found in keys.values() for key in found]
    uses, places = key_uses.by_key(every), key_narrowing.place_names(every)
    result = []
    for device in rows:
        listed = [
            api_keys.view(key, places.get(key.id)) | {"used_from": [key_uses.view(use) for use in uses.get(key.id, ())]}
            for key in keys[device.id]
        ]
        live = sorted(key["expires_at"] for key in listed if key["state"] in api_keys.LIVE_STATES)
        result.append(
            {
                "id": rest_ids.encode("device", device.id),
                "label": device.label,
                "type": device.type,
                "status": device_status.status(device),
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
        )
    return result


def _with_owner() -> Any:
    return Device.select(Device, User).left_outer_join(User)


def _owner(email: str) -> User:
    if not email.strip():
        raise BadValue("Enter the e-mail address of the user who is responsible for the device.", field="owner")
    row: User | None = User.get_or_none(User.email == email.strip().lower())
    if row is None:
        raise BadValue(f"There is no user {email.strip()[:254]!r}. Enter the e-mail address of a user.", field="owner")
    if row.disabled:
        raise BadValue(f"{row.email} is disabled. Choose a user who can sign in.", field="owner")
    return row


def _usual_owner(actor: Actor) -> User | None:
    """The owner of a device for which none was named; None on a site that has no site admin yet. Raises BadValue."""
    adding: User | None = None
    if actor.type == "user":
        adding = User.get_or_none(User.id == int(actor.id))
    elif actor.type == "device":
        adding = get(int(actor.id)).sponsor
    if adding is not None and not adding.disabled:
        return adding
    admins = list(User.select().where(User.is_admin, ~User.disabled).limit(2))
    if len(admins) > 1:
        message = "Name the owner of the device, the user who is responsible for it, by e-mail address"
        raise BadValue(f"{message} (--owner on the command line, sponsor by REST).", field="owner")
    return admins[0] if admins else None


def _switch(device: str | int, *, disabled: bool, actor: Actor) -> Device:
    rights.require_admin(actor)
    with writing():
        row = get(device)
        if row.disabled != disabled:
            Device.update(disabled=disabled, modified=now()).where(Device.id == row.id).execute()
            audit.record(actor, "device:disabled" if disabled else "device:enabled", "device", row.id, label=row.label)
    return get(row.id)


def _refuse_taken(label: str) -> None:
    if Device.select().where(Device.label == label, Device.removed.is_null()).exists():
        raise Taken(f"There is a device {label} already. Choose another label.", field="label")


def _type(value: Any) -> str | None:
    if value is not None and value not in TYPES:
        raise BadValue(f"The type of a device is one of: {', '.join(TYPES)}.", field="type")
    return str(value) if value else None


def _require_valid(name: str, value: Any) -> None:
    """Raise BadValue unless a device may report this value; None resets the version or the interval."""
    if name == "version":
        message = f"The version is a text of 1 to {MAX_VERSION_LENGTH} visible characters."
        is_text = isinstance(value, str) and 1 <= len(value) <= MAX_VERSION_LENGTH and value.isprintable()
        is_valid = value is None or is_text
    elif name == "interval":
        message = f"The interval is a number of seconds from 1 to {MAX_INTERVAL}."
        is_number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_INTERVAL
        is_valid = value is None or is_number
    elif name == "errors":
        message = f"The errors are a list of at most {MAX_ERRORS} texts of {MAX_ERROR_LENGTH} characters each."
        texts = value if isinstance(value, list) and len(value) <= MAX_ERRORS else [None]
        is_valid = all(isinstance(text, str) and len(text) <= MAX_ERROR_LENGTH for text in texts)
    else:
        message = f"The info is an object of at most {MAX_INFO_LENGTH} characters."
        is_valid = isinstance(value, dict) and len(json.dumps(value)) <= MAX_INFO_LENGTH
    if not is_valid:
        raise BadValue(message, field=name)
