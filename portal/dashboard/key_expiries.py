"""Device keys that expire soon, in order and day by day."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import fn

from portal.models import ApiKey, Device, now

DAYS_AHEAD = 90
KEYS_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """One key that expires, and its device."""

    device_id: int
    device: str
    key: str
    moment: datetime


@dataclass(frozen=True, kw_only=True)
class UpcomingExpiries:
    """The number of expiries on each day from today, and the first of them by name."""

    days: tuple[int, ...]
    first: tuple[Expiry, ...]

    @property
    def all(self) -> int:
        return sum(self.days)

    @property
    def marks(self) -> tuple[tuple[int, int], ...]:
        """The days with expiries, and their number."""
        return tuple((day, number) for day, number in enumerate(self.days) if number)


def upcoming() -> UpcomingExpiries:
    """The live keys of devices that are not disabled; two statements on an index."""
    moment = now()
    end = moment + timedelta(days=DAYS_AHEAD)
    live = (ApiKey.owner_type == "device") & (ApiKey.expires > moment) & (ApiKey.expires < end)
    found: Any = ApiKey.select().join(Device, on=(ApiKey.owner_id == Device.id))
    found = found.where(live, ApiKey.revoked.is_null(), ~Device.disabled)
    day = fn.SUBSTR(ApiKey.expires, 1, 10).coerce(False)
    counted = dict(found.select(day, fn.COUNT(ApiKey.id)).group_by(day).tuples())
    rows = found.select(Device.id, Device.label, ApiKey.name, ApiKey.expires).order_by(ApiKey.expires, ApiKey.id)
    moments = (moment + timedelta(days=number) for number in range(DAYS_AHEAD + 1))
    return UpcomingExpiries(
        days=tuple(counted.get(f"{one:%Y-%m-%d}", 0) for one in moments),
        first=tuple(
            Expiry(device_id=number, device=label, key=name, moment=expires)
            for number, label, name, expires in (rows.limit(KEYS_SHOWN).tuples() if counted else ())
        ),
    )
