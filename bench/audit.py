"""Times the pages of an audit log of a million entries: python bench/audit.py [ENTRIES]

Prints each filter with the time of its page on the server, without the network.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import connect
from typing import Any
from zoneinfo import ZoneInfo

from portal import migrations, models, runtime, settings
from portal.access import audit
from portal.access.actors import operator
from portal.audit_log import entries, filters
from portal.audit_log.kinds import WORDS
from portal.models import Audit, writing

DAYS = 700
RARE = ("setting:changed", "key:issued", "conflict:resolved", "storage:added")
OFTEN = ("association:released", "session:viewed", "study:retrieved", "user:signed_in", "file:downloaded")
FILTERS: tuple[dict[str, str], ...] = (
    {},
    {"day": "today"},
    {"day": "week"},
    {"from": "2025-06-01", "to": "2025-06-07"},
    {"from": "2020-01-01"},
    {"who": "peer 1"},
    {"who": "peer 1", "kind": "reading"},
    {"who": "user 3", "day": "yesterday"},
    {"who": "user 3", "kind": "settings", "from": "2025-01-01"},
    {"kind": "keys"},
    {"kind": "data", "from": "2025-06-01", "to": "2025-06-07"},
    {"about": "session 77"},
    {"about": "session 77", "kind": "reading", "day": "week"},
    {"about": "peer 2", "who": "peer 1"},
    {"who": "nobody@site.example"},
    {"who": "10.0.0.9"},
)


def rows(number: int) -> Iterator[tuple[Any, ...]]:
    """Entries over two years: most by one peer, some by others, a few rare ones. Their digests are not real."""
    begin = datetime.now(UTC) - timedelta(days=DAYS)
    for n in range(1, number + 1):
        at = (begin + timedelta(days=DAYS) * (n / number)).replace(tzinfo=None).isoformat(" ", timespec="microseconds")
        action = RARE[n // 5000 % len(RARE)] if n % 5000 == 0 else OFTEN[n % len(OFTEN)]
        who = ("peer", "1") if n % 3 else ("user", str(n % 11)) if n % 2 else ("device", str(n % 10_000))
        session = n % 20_000 if action in ("session:viewed", "study:retrieved") else None
        target = ("session", str(session)) if session else (action.partition(":")[0], str(n % 5000))
        detail = '{"instances": 12}'
        yield (
            n,
            at,
            *who,
            "web",
            action,
            *target,
            f"10.0.{n % 4}.{n % 250}",
            detail,
            "p" * 64,
            "h" * 64,
            "m" * 73,
            session,
        )


def fill(path: Path, number: int) -> None:
    columns = "id, at, actor_type, actor_id, via, action, target_type, target_id, address, detail, previous, hash, hmac"
    marks = ", ".join("?" * 14)
    with closing(connect(path)) as file:
        file.execute("PRAGMA synchronous = 0")
        file.executemany(f"INSERT INTO audit ({columns}, session) VALUES ({marks})", rows(number))
        file.commit()


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    assert all(action in WORDS for action in (*RARE, *OFTEN))
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings.load(Path(folder) / "data", {})
        runtime.start(chosen)
        migrations.apply(chosen.run / "migrate.lock")
        fill(chosen.database, number)
        with models.connection():
            print(f"{Audit.select().count():,} entries, {chosen.database.stat().st_size / 1e6:,.0f} MB")
            for values in FILTERS:
                found = filters.parse(values, zone=ZoneInfo("Europe/Zurich"))
                times = []
                for _ in range(3):
                    begun = time.perf_counter()
                    shown = entries.views(filters.page(found))
                    counted = filters.count(found)
                    times.append(time.perf_counter() - begun)
                print(f"{min(times) * 1000:7.1f} ms  {counted:7,}  {len(shown):3}  {values}")
            begun = time.perf_counter()
            for place in range(100):
                with writing():
                    audit.record(operator(), "setting:changed", "site", "", n=place)
            print(f"{(time.perf_counter() - begun) * 10:.2f} ms an entry, durable")


if __name__ == "__main__":
    main()
