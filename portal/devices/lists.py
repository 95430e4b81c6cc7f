"""The list of devices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import Case, fn

from portal import hourly_charts
from portal.devices import api_keys, device_status, key_format
from portal.listing import LongList, ignoring_case, starts_with
from portal.models import ApiKey, Device, User, now


@dataclass(frozen=True, kw_only=True)
class DeviceRow:
    """A device with its state, its number of live keys, and their next expiry."""

    device: Device
    state: str
    live: int
    next_expiry: datetime | None
    expires_soon: bool
    last_expiry: datetime | None
    """When its last key ended, if none is live."""
    day: hourly_charts.Day


def _device_rows(rows: Sequence[Device]) -> list[DeviceRow]:
    numbers = [row.id for row in rows]
    is_live = api_keys.is_live()
    figures: Any = (
        ApiKey.select(
            ApiKey.owner_id,
            fn.SUM(Case(None, [(is_live, 1)], 0)),
            fn.MIN(Case(None, [(is_live, ApiKey.expires)], None)),
            fn.MAX(Case(None, [(ApiKey.revoked.is_null(), ApiKey.expires)], None)),
        )
        .where(ApiKey.owner_type == "device", ApiKey.owner_id.in_(numbers))
        .group_by(ApiKey.owner_id)
    )
    by_device = {number: counted for number, *counted in figures.tuples()}
    days = hourly_charts.for_devices(numbers)
    result = []
    for row in rows:
        live_keys, soonest, latest = by_device.get(row.id, (0, None, None))
        next_expiry = ApiKey.expires.python_value(soonest)
        result.append(
            DeviceRow(
                device=row,
                state=device_status.state(row),
                live=live_keys,
                next_expiry=next_expiry,
                expires_soon=next_expiry is not None and next_expiry - now() <= api_keys.EXPIRY_NOTICE,
                last_expiry=None if live_keys else ApiKey.expires.python_value(latest),
                day=days[row.id],
            )
        )
    return result


def _with_key(search: str) -> Sequence[Any]:
    """Devices are also found by the beginning of a key id; the rest of a key is ignored."""
    begin = key_format.key_id_in(search)
    if not begin:
        return ()
    owners = ApiKey.select(ApiKey.owner_id).where(ApiKey.owner_type == "device", starts_with(ApiKey.key_id, begin))
    return (Device.id.in_(owners),)


DEVICES = LongList(
    table=Device,
    rows=lambda: Device.select(Device, User).left_outer_join(User).where(Device.removed.is_null()),
    views=_device_rows,
    state=device_status.state_expression,
    searched=(Device.label, Device.type, Device.last_address, Device.version, User.email),
    also=_with_key,
    sorts={
        "label": lambda: ignoring_case(Device.label),
        "status": device_status.state_expression,
        "seen": lambda: Device.last_seen,
        # Not MIN of the column itself: SQLite would walk the index of all keys by expiry, for each device.
        "expires": lambda: ApiKey.select(fn.MIN(fn.COALESCE(ApiKey.expires, ""))).where(
            ApiKey.owner_type == "device", ApiKey.owner_id == Device.id, api_keys.is_live()
        ),
        "sponsor": lambda: ignoring_case(User.email),
    },
    usual="label",
    heads=(
        *("Label", "Type", "Version", "Status", "Errors", "Last seen", "Last address", "Live keys", "Next expiry"),
        *("Owner", "Added", "Requests in 24 h", "Failed in 24 h"),
    ),
    cells=lambda row: (
        *(row.device.label, row.device.type, row.device.version, row.state, row.device.errors, row.device.last_seen),
        *(row.device.last_address, row.live, row.next_expiry),
        *(row.device.sponsor.email if row.device.sponsor else "", row.device.created, row.day.all, row.day.failed),
    ),
)
