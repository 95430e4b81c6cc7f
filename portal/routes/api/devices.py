"""/api/devices: devices, their reports, and their keys."""

from collections.abc import Sequence
from typing import Any

from portal import timestamps
from portal.access import rights
from portal.devices import api_keys, device_status, devices, key_narrowing
from portal.errors import Missing, NotAllowed
from portal.routes.api import answers, authentication
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.containers import OriginShown
from portal.routes.api.schemas.devices import (
    Deleted,
    DeviceAdded,
    DeviceChanged,
    DevicePath,
    DeviceReport,
    Devices,
    DeviceShown,
    DevicesQuery,
    DeviceStatus,
    KeyIssued,
    KeyPath,
    KeyShown,
    NewKey,
    Statuses,
)
from portal.tree import rest_ids

bp = Noun("devices", __name__, "Machines and programs with keys of their own.")


@bp.get("/devices", responses={200: Devices})
def list_all(query: DevicesQuery) -> Devices:
    """List all devices by label, or a part of them

    Users who are no site admins see neither owners nor keys, addresses, `info`, `errors` and who added a device.
    """
    return Devices(_shapes(_visible(skip=query.skip or 0, limit=query.limit)))


@bp.post("/devices", responses={200: DeviceShown})
def add(body: DeviceAdded) -> DeviceShown:
    """Add a device"""
    return _shape(devices.add(body.label, body.type, owner=body.sponsor, actor=authentication.actor()))


@bp.get("/devices/self", responses={200: DeviceShown})
def show_self() -> DeviceShown:
    """Show the device whose key this is"""
    return _shape(devices.get(_own_number()))


@bp.put("/devices/self", responses={200: DeviceShown})
def report(body: DeviceReport) -> DeviceShown:
    """Report as the device whose key this is

    An empty body only records that the device was seen.
    """
    _own_number()
    return _shape(devices.record_report(body.model_dump(exclude_unset=True), actor=authentication.actor()))


@bp.get("/devices/status", responses={200: Statuses})
def status() -> Statuses:
    """Show how each device is"""
    return Statuses(
        {
            rest_ids.encode("device", row.id): DeviceStatus(
                status=device_status.health(row),
                last_seen=row.last_seen,
                **({"errors": row.errors} if row.errors and _shows_all() else {}),
            )
            for row in _visible()
        }
    )


@bp.get("/devices/<string(length=24):device_id>", responses={200: DeviceShown})
def show(path: DevicePath) -> DeviceShown:
    """Show a device"""
    number = rest_ids.row_id(path.device_id, "device")
    if not _is_visible(number):
        raise Missing(f"There is no device {path.device_id}.")
    return _shape(devices.get(number))


@bp.put("/devices/<string(length=24):device_id>", responses={200: DeviceShown})
def change(path: DevicePath, body: DeviceChanged) -> DeviceShown:
    """Rename, disable or enable a device, or name another owner"""
    row_id, actor = rest_ids.row_id(path.device_id, "device"), authentication.actor()
    return _shape(devices.change(row_id, label=body.label, disabled=body.disabled, owner=body.sponsor, actor=actor))


@bp.delete("/devices/<string(length=24):device_id>", responses={200: Deleted})
def remove(path: DevicePath) -> Deleted:
    """Remove a device and revoke its keys

    What it uploaded still names it as its origin.
    """
    devices.remove(rest_ids.row_id(path.device_id, "device"), actor=authentication.actor())
    return Deleted(deleted=1)


@bp.post("/devices/<string(length=24):device_id>/key", responses={200: NewKey})
def issue(path: DevicePath, body: KeyIssued) -> NewKey:
    """Issue a key; its secret is shown this once"""
    owner = devices.get(rest_ids.row_id(path.device_id, "device"))
    expires = timestamps.parse(body.expires_at, field="expires_at") if body.expires_at else None
    issued = api_keys.issue(
        owner,
        name=body.label,
        expires=expires,
        read_only=bool(body.read_only),
        only=body.only or "",
        addresses=body.addresses or (),
        actor=authentication.actor(),
    )
    return NewKey(**_key(issued.row, body.only or None).model_dump(), unencrypted_secret=issued.secret)


@bp.delete("/devices/<string(length=24):device_id>/key/<key_id>", responses={204: None})
def revoke(path: KeyPath) -> tuple[str, int]:
    """Revoke a key"""
    owner = devices.get(rest_ids.row_id(path.device_id, "device"))
    api_keys.revoke(owner, path.key_id, actor=authentication.actor())
    return "", 204


def _own_number() -> int:
    actor = authentication.actor()
    if actor.type != "device":
        raise NotAllowed("Only devices can use this address. Use the device's API key.")
    return int(actor.id)


def _visible(*, skip: int = 0, limit: int | None = None) -> list[Any]:
    if authentication.actor().narrowed is None:
        return devices.list_all(skip=skip, limit=limit)
    return [row for row in devices.list_all() if _is_visible(row.id)][skip:][:limit]


def _is_visible(number: int) -> bool:
    """A key that is limited to a group or project sees no device but its own."""
    actor = authentication.actor()
    return actor.narrowed is None or (actor.type, actor.id) == ("device", str(number))


def _shows_all() -> bool:
    """Whether the caller sees who a device belongs to, its keys and its reports: no user does but site admins."""
    actor = authentication.actor()
    return actor.type != "user" or rights.is_site_admin(actor)


def _shape(row: Any) -> DeviceShown:
    return _shapes([row])[0]


def _shapes(rows: Sequence[Any]) -> list[DeviceShown]:
    """With the keys of all devices, and their places, by three statements; users see a part of it (`_shows_all`)."""
    if not _shows_all():
        return [_public_shape(row) for row in rows]
    actor = authentication.actor()
    keys = api_keys.for_devices(rows)
    # The name of a project is shown to those who see all of them, and to the key that is limited to it.
    every = (key for found in keys.values() for key in found)
    places = key_narrowing.place_names(key for key in every if rights.is_site_admin(actor) or key.key_id == actor.via)
    return [
        DeviceShown(
            id=rest_ids.encode("device", row.id),
            label=row.label,
            name=row.label,
            type=row.type,
            version=row.version,
            errors=row.errors,
            interval=row.interval,
            info=row.info,
            last_seen=row.last_seen,
            disabled=row.disabled,
            sponsor=row.sponsor and row.sponsor.email,
            api_keys=[_key(key, places.get(key.id)) for key in keys[row.id]],
            created=row.created,
            modified=row.modified,
            origin=answers.origin(row),
        )
        for row in rows
    ]


def _public_shape(row: Any) -> DeviceShown:
    """What every user sees of a device."""
    return DeviceShown(
        id=rest_ids.encode("device", row.id),
        label=row.label,
        name=row.label,
        type=row.type,
        version=row.version,
        errors=[],
        interval=row.interval,
        info={},
        last_seen=row.last_seen,
        disabled=row.disabled,
        sponsor=None,
        api_keys=[],
        created=row.created,
        modified=row.modified,
        origin=OriginShown(type=row.origin_type, id="", via=""),
    )


def _key(row: Any, place: str | None) -> KeyShown:
    return KeyShown(
        label=row.name,
        key=row.key_id,
        state=api_keys.state(row),
        created=row.created,
        last_used=row.last_used,
        expires_at=row.expires,
        read_only=row.read_only,
        only=place,
        addresses=row.addresses,
        replaces=row.replaces,
    )
