"""The list of devices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import Case, Value, fn

from portal import hourly_charts
from portal.devices import api_keys, devices
from portal.listing import LongList, ordered, starts_with
from portal.models import ApiKey, Device, User, now


@dataclass(frozen=True, kw_only=True)
class DeviceRow:
    """A device with its state in a word, how many live keys it has, and when the first and the last of them ends."""

    device: Device
    state: str
    live: int
    next_expiry: datetime | None
    expires_soon: bool
    last_expiry: datetime | None
    """When its last key ended, where none is live."""
    day: hourly_charts.Day


def _device_state() -> Any:
    """`devices.state` in SQL."""
    silent = (fn.julianday(Value(Device.last_seen.db_value(now()))) - fn.julianday(Device.last_seen)) * 86400.0
    cases = [
        (Device.disabled, "disabled"),
        (Device.errors.cast("TEXT") != "[]", "error"),
        (Device.last_seen.is_null(), "never"),
        (Device.interval.is_null(), "seen"),
        (silent > Device.interval, "missing"),
    ]
    return Case(None, cases, "ok")


def _next_expiry() -> Any:
    live = _live() & (ApiKey.owner_id == Device.id)
    return ApiKey.select(fn.MIN(ApiKey.expires)).where(live)


def _live() -> Any:
    return (ApiKey.owner_type == "device") & ApiKey.revoked.is_null() & (ApiKey.expires > now())


def _device_rows(rows: Sequence[Device]) -> list[DeviceRow]:
    numbers = [row.id for row in rows]
    live = (ApiKey.revoked.is_null()) & (ApiKey.expires > now())
    figures: Any = (
        ApiKey.select(
            ApiKey.owner_id,
            fn.SUM(Case(None, [(live, 1)], 0)),
            fn.MIN(Case(None, [(live, ApiKey.expires)], None)),
            fn.MAX(Case(None, [(ApiKey.revoked.is_null(), ApiKey.expires)], None)),
        )
        .where(ApiKey.owner_type == "device", ApiKey.owner_id.in_(numbers))
        .group_by(ApiKey.owner_id)
    )
    by_device = {found[0]: found[1:] for found in figures.tuples()}
    days = hourly_charts.for_devices(numbers)
    return [_device_row(row, days[row.id], *by_device.get(row.id, (0, None, None))) for row in rows]


def _device_row(row: Device, day: hourly_charts.Day, live: int, soonest: Any, latest: Any) -> DeviceRow:
    first, last = ApiKey.expires.python_value(soonest), ApiKey.expires.python_value(latest)
    return DeviceRow(
        device=row,
        state=devices.state(row),
        live=live,
        next_expiry=first,
        expires_soon=first is not None and first - now() <= api_keys.EXPIRY_NOTICE,
        last_expiry=None if live else last,
        day=day,
    )


def _with_key(search: str) -> Sequence[Any]:
    """A key is found by its id, of which people have the beginning; never by more of it than that."""
    begin = api_keys.key_id_in(search)
    if not begin:
        return ()
    owners = ApiKey.select(ApiKey.owner_id).where(ApiKey.owner_type == "device", starts_with(ApiKey.key_id, begin))
    return (Device.id.in_(owners),)


DEVICES = LongList(
    table=Device,
    rows=lambda: Device.select(Device, User).left_outer_join(User),
    views=_device_rows,
    state=_device_state,
    searched=(Device.label, Device.type, Device.last_address, Device.version, User.email),
    also=_with_key,
    sorts={
        "label": lambda: ordered(Device.label),
        "status": _device_state,
        "seen": lambda: Device.last_seen,
        "expires": _next_expiry,
        "sponsor": lambda: ordered(User.email),
    },
    usual="label",
    heads=(
        *("Label", "Type", "Version", "Status", "Errors", "Last seen", "Last address", "Live keys", "Next expiry"),
        *("Answers for it", "Added", "Requests in 24 h", "Failed in 24 h"),
    ),
    cells=lambda row: (
        *(row.device.label, row.device.type, row.device.version, row.state, row.device.errors, row.device.last_seen),
        *(row.device.last_address, row.live, row.next_expiry),
        *(row.device.sponsor.email if row.device.sponsor else "", row.device.created, row.day.all, row.day.failed),
    ),
)
