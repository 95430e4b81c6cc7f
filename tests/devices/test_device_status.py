"""The status of a device is the same in Python and in SQL."""

import random
from collections import Counter
from datetime import timedelta

import pytest

from portal.devices import device_status
from portal.models import Device, now, writing

pytestmark = pytest.mark.usefixtures("site")


def test_the_sql_expression_gives_the_state_of_every_row() -> None:
    chance, moment = random.Random(12), now()
    rows = []
    for number in range(2000):
        interval = chance.choice((None, 1, 60, chance.randint(1, 366 * 24 * 3600)))
        # Around the moment at which the interval ends, to the microsecond, and far from it.
        silence = timedelta(
            seconds=interval or 60, microseconds=chance.choice((-1, 0, 1, chance.randint(-(10**9), 10**9)))
        )
        rows.append(
            {
                "label": f"device-{number}",
                "disabled": chance.random() < 0.1,
                "errors": chance.choice(([], [], [], ["full"], [""])),
                "interval": interval,
                "last_seen": None if chance.random() < 0.1 else moment - silence,
            }
        )
    with writing():
        for begin in range(0, len(rows), 100):
            Device.insert_many(rows[begin : begin + 100]).execute()

    in_sql = dict(Device.select(Device.id, device_status.state_expression(at=moment)).tuples())
    in_python = {row.id: device_status.state(row, at=moment) for row in Device.select()}

    assert in_sql == in_python
    counted = Counter(in_python.values())
    assert all(counted[state] > 50 for state in ("disabled", "error", "never", "seen", "missing", "ok")), counted
