"""The status of a device, computed in Python for a row and as one SQL expression for lists."""

from datetime import datetime, timedelta
from typing import Any

from peewee import Case, fn

from portal.models import Device, now


def state(device: Device, *, at: datetime | None = None) -> str:
    """What pages show: disabled | error | never | seen | missing | ok.

    error: it reported errors. never: it was not seen yet. seen: it reports no interval. missing: it has been silent
    for longer than its interval.
    """
    return "disabled" if device.disabled else _activity(device, at or now())


def status(device: Device) -> str:
    """What the command line prints: disabled | error | unknown | missing | ok."""
    return "disabled" if device.disabled else health(device)


def health(device: Device) -> str:
    """What the REST interface answers, also for a disabled device: error | unknown | missing | ok."""
    activity = _activity(device, now())
    return "unknown" if activity in ("never", "seen") else activity


def state_expression(*, at: datetime | None = None) -> Any:
    """`state` in SQL, to filter and sort devices by it."""
    # The seconds are added to the whole second, as SQLite would round the fraction to milliseconds.
    whole, fraction = fn.SUBSTR(Device.last_seen, 1, 19), fn.SUBSTR(Device.last_seen, 20).coerce(False)
    due: Any = fn.STRFTIME("%Y-%m-%d %H:%M:%S", whole, Device.interval.cast("TEXT").concat(" seconds")).coerce(False)
    cases = [
        (Device.disabled, "disabled"),
        (Device.errors.cast("TEXT") != "[]", "error"),
        (Device.last_seen.is_null(), "never"),
        (Device.interval.is_null(), "seen"),
        (due.concat(fraction) < Device.last_seen.db_value(at or now()), "missing"),
    ]
    return Case(None, cases, "ok")


def _activity(device: Device, at: datetime) -> str:
    if device.errors:
        return "error"
    if device.last_seen is None:
        return "never"
    if device.interval is None:
        return "seen"
    return "missing" if device.last_seen + timedelta(seconds=device.interval) < at else "ok"
