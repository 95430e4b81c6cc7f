"""Time every list and the search on a full site, and write the table into bench/results.md (`make bench`).

python bench/pages.py DIR [--rows 10000] [--instances 1000000]
"""

import argparse
import contextlib
import datetime
import logging
import os
import platform
import re
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import make_index
import results
from flask import Flask
from flask.testing import FlaskClient

from portal import migrations, models, runtime, settings, site_settings
from portal.access.actors import operator
from portal.app import create_app
from portal.dashboard import disk_usage, overview
from portal.models import database
from portal.tree import container_sizes
from portal.users import users

EMAIL, PASSWORD = "admin@bench.example", "correct horse battery"
RUNS = 11
HOURS = 24 * 7
"""Hours of each device that have a row."""
STUDIES = 20_000
NOW = "2026-01-01 00:00:00.000000"
SAMPLES = str([[number, 8000 * number] for number in range(1, 121)])
LATELY = "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || (id % 1440) || ' minutes')"
"""Some minute of the last day, for rows that a picture of the last 24 hours counts."""
LATER = "2027-{:02}-{:02} 00:00:00.000000"

PAGES = (
    ("home", "/"),
    ("what fills the disk", "/disk/"),
    ("devices", "/interfaces/devices/"),
    ("devices, last page", "/interfaces/devices/?page=200"),
    ("devices, by status", "/interfaces/devices/?sort=status"),
    ("devices, by the next key to expire", "/interfaces/devices/?sort=expires"),
    ("devices, searched", "/interfaces/devices/?q=device-77"),
    ("devices, searched beyond ASCII", "/interfaces/devices/?q=ger%C3%A4t"),
    ("devices, missing", "/interfaces/devices/?only=missing"),
    ("a device", "/interfaces/devices/78"),
    ("peers", "/interfaces/peers/"),
    ("peers, searched", "/interfaces/peers/?q=10.0.7"),
    ("peers, last heard first", "/interfaces/peers/?sort=-seen"),
    ("peers, silent", "/interfaces/peers/?only=silent"),
    ("a peer", "/interfaces/peers/78"),
    ("a peer, its form", "/interfaces/peers/78/edit"),
    ("refused callers", "/activity/refused"),
    ("refused callers, most often first", "/activity/refused?sort=-count"),
    ("external storages", "/interfaces/storages/"),
    ("users", "/users/"),
    ("jobs", "/jobs/"),
    ("jobs, searched", "/jobs/?q=to+mirror&only=failed"),
    ("a job", "/jobs/7777"),
    ("exports", "/exports/"),
    ("associations", "/activity/"),
    ("associations, searched", "/activity/?q=PEER77"),
    ("audit", "/activity/audit"),
    ("audit, searched", "/activity/audit?kind=keys&who=device+7"),
    ("projects", "/data/"),
    ("projects, largest first", "/data/?sort=-size"),
    ("projects, most subjects first", "/data/?sort=-subjects"),
    ("subjects of a project, 100,000", "/data/project/1"),
    ("subjects, last page", "/data/project/1?page=2000"),
    ("subjects, newest first", "/data/project/1?sort=-since"),
    ("subjects, searched", "/data/project/1?q=S777"),
    ("sessions of a subject, 10,000", "/data/subject/1"),
    ("sessions, largest first", "/data/subject/1?sort=-size"),
    ("sessions, searched", "/data/subject/1?q=777"),
    ("acquisitions of a session, 10,000", "/data/session/2"),
    ("acquisitions, largest first", "/data/session/2?sort=-size"),
    ("acquisitions, by modality", "/data/session/2?sort=modality"),
    ("acquisitions, searched", "/data/session/2?q=777"),
    ("files of an acquisition, 10,000", "/data/acquisition/3"),
    ("files, largest first", "/data/acquisition/3?sort=-size"),
    ("files, searched", "/data/acquisition/3?q=777"),
    ("conflicts", "/data/conflicts/"),
    ("conflicts, open", "/data/conflicts/?only=open"),
    ("conflicts, last page by project", "/data/conflicts/?sort=project&page=200"),
    ("conflicts, searched", "/data/conflicts/?q=1.2.3.9.77"),
    ("trash", "/data/trash"),
    ("trash, largest first", "/data/trash?sort=-size"),
    ("trash, searched", "/data/trash?q=thing+77"),
    ("search: a study's UID", "/search?q=1.2.3.777"),
    ("search: an object's UID", "/search?q=1.2.3.9.777777"),
    ("search: a Patient ID", "/search?q=P001234"),
    ("search: a Patient ID in small letters", "/search?q=p00123"),
    ("search: an accession number", "/search?q=A0001234"),
    ("search: a subject in small letters", "/search?q=s7777"),
    ("search: a name", "/search?q=huber"),
    ("search: one letter", "/search?q=p"),
    ("search: an AE title", "/search?q=PEER7777"),
    ("search: an address", "/search?q=10.0.7"),
    ("search: a job", "/search?q=7777"),
    ("search: nothing of that", "/search?q=zzzzzz"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="the pages whose address begins so; the table is not written")
    options = parser.parse_args()
    chosen = settings.load(options.data, {**os.environ, "PORTAL_CHEAP_PASSWORDS": "1"})
    runtime.start(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    with models.connection():
        if not models.Study.select().exists():
            fill(options.rows, options.instances)
        overview.refresh()
        container_sizes.refresh()
        disk_usage.take_sample()
        counted = {table.__name__: table.select().count() for table in COUNTED}
    pages = [page for page in PAGES if page[1].startswith(options.only)]
    report(counted, list(measure(create_app(chosen), pages)), kept=not options.only)


COUNTED = (
    *(
        models.Device,
        models.DeviceHour,
        models.Peer,
        models.Caller,
        models.Storage,
        models.User,
        models.Job,
        models.Association,
    ),
    *(models.Audit, models.Study, models.Instance, models.Subject, models.Conflict, models.Trash),
)


def fill(rows: int, instances: int) -> None:
    users.add(EMAIL, PASSWORD, True, actor=operator())
    site_settings.change({"dimse.enabled": True}, actor=operator())
    make_index.fill(STUDIES, instances)
    with database.atomic():
        fill_tree(rows)
        put("device", DEVICE, (device(n) for n in range(1, rows + 1)))
        put("device_hour", HOUR, (hour(n, back) for n in range(1, rows + 1) for back in range(HOURS)))
        database.execute_sql("UPDATE file SET origin_type = 'device', origin_id = id % 100 + 1 WHERE id % 3 = 0")
        put("api_key", KEY, (key(n) for n in range(1, rows + 1)))
        put("peer", PEER, (peer(n) for n in range(1, rows + 1)))
        put("access_grant", GRANT, (("peer", n, n % 2 + 1, "ro") for n in range(1, rows + 1)))
        put("caller", CALLER, (caller(n) for n in range(1, rows + 1)))
        put("storage", STORAGE, (storage(n) for n in range(1, rows // 10 + 1)))
        put("user", USER, (user(n) for n in range(1, rows + 1)))
        put("job", JOB, (job(n) for n in range(1, rows + 1)))
        put("association", ASSOCIATION, (association(n, rows) for n in range(1, 10 * rows + 1)))
        put("audit", AUDIT, (act(n) for n in range(1, 10 * rows + 1)))
        for table, column, every in (("association", "started", 10), ("job", "ended", 2)):
            database.execute_sql(f"UPDATE {table} SET {column} = {LATELY} WHERE id % {every} = 0")
    database.execute_sql("ANALYZE")
    container_sizes.refresh()


def fill_tree(rows: int) -> None:
    """As many subjects as series; and as many sessions, acquisitions and files as `rows` in one container each."""
    series, there = STUDIES * make_index.SERIES_PER_STUDY, models.Subject.select().count()
    put("subject", SUBJECT, ((n, 1, f"S{n}", f"Q{n}", "", *OWNER) for n in range(there + 1, series + 1)))
    put("session", SESSION, ((STUDIES + n, 1, f"Visit {n}", *OWNER) for n in range(1, rows + 1)))
    put("acquisition", ACQUISITION, ((series + n, 2, f"{n} localizer", *OWNER) for n in range(1, rows + 1)))
    database.execute_sql("UPDATE file SET parent_id = 3 WHERE id > ? AND id <= ?", (10 * rows, 11 * rows))
    choices = ("open", "keep", "replace", "separate")
    put(
        "conflict",
        ("id", "file_id", "project_id", "sop_uid", "kind", "message", "choice"),
        ((n, n, 1, f"1.2.3.9.{n}", "content", "Other content than here.", choices[n % 4]) for n in range(1, rows + 1)),
    )
    put("trash", TRASH, ((n, "session", n, 1, f"thing {n}", n % 977, n * 1000, *OWNER) for n in range(1, rows + 1)))


OWNED, OWNER = make_index.OWNED, make_index.OWNER
SUBJECT = ("id", "project_id", "label", "patient_id", "issuer", *OWNED)
SESSION = ("id", "subject_id", "label", *OWNED)
ACQUISITION = ("id", "session_id", "label", *OWNED)
TRASH = ("id", "kind", "target", "project_id", "label", "files", "size", *OWNED)
DEVICE = ("id", "label", "type", "interval", "errors", "info", "disabled", "last_seen", "last_address", *OWNED)
HOUR = ("device_id", "hour", "requests", "failures", "bytes")
KEY = ("key_id", "owner_type", "owner_id", "name", "hmac", "expires", "created", "created_by", "read_only", "addresses")
PEER = ("id", "label", "ae_title", "our_ae_title", "host", "port", "addresses", "tls", "services", "moves_to", "limits")
PEER += ("enabled", "state", "message", "last_seen", "last_answered", *OWNED)
GRANT = ("who_type", "who_id", "project_id", "role")
CALLER = ("calling", "called", "address", "reason", "message", "first", "last", "count", "decision")
STORAGE = ("label", "provider", "config", "prefix", "prefix_locked", "mode", "visible", "state", "message", *OWNED)
USER = ("email", "password", "is_admin", "disabled", "session_epoch", "time_zone", "created")
JOB = ("id", "kind", "runner", "what", "started_by", "params", "state", "due", "attempts", "holder", "started")
JOB += ("total", "done", "failed", "bytes", "message", "result", "samples", *OWNED)
ASSOCIATION = ("id", "peer_id", "role", "calling", "called", "address", "tls", "process", "started", "seen", "ended")
ASSOCIATION += ("outcome", "message", "contexts", "counts", "failures", "bytes")
AUDIT = ("at", "actor_type", "actor_id", "via", "action", "target_type", "target_id", "address", "detail")
AUDIT += ("previous", "hash")


def ago(**back: int) -> str:
    """A moment before this one, as a column has it: what pages show of the last day has to be there."""
    return f"{datetime.datetime.now(datetime.UTC) - datetime.timedelta(**back):%Y-%m-%d %H:%M:%S.%f}"


def put(table: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    make_index.insert(table, tuple(f'"{column}"' for column in columns), rows)


def device(number: int) -> tuple[Any, ...]:
    errors = '["source share not mounted"]' if number % 50 == 0 else "[]"
    label = f"Gerät {number}" if number % 10 == 0 else f"device-{number}"
    interval = (None, 60, 10**9)[number % 3]
    return (number, label, "importer", interval, errors, "{}", number % 97 == 0, NOW, f"10.0.{number % 250}.9", *OWNER)


def hour(number: int, back: int) -> tuple[Any, ...]:
    return (number, ago(hours=back)[:14] + "00:00.000000", 60, number * back % 7 == 0, 10**6)


def key(number: int) -> tuple[Any, ...]:
    expires = LATER.format(number % 12 + 1, number % 28 + 1)
    return (f"ptk_{number:06}", "device", number, "one", "0" * 64, expires, NOW, EMAIL, False, "[]")


def peer(number: int) -> tuple[Any, ...]:
    where = (f"10.0.{number % 250}.{number // 250}", 104, f'["10.0.{number % 250}.{number // 250}/32"]')
    how = (False, '["echo", "find"]', "[]", "{}", number % 40 != 0, ("ok", "failed", "unknown")[number % 3])
    return (
        number,
        f"Peer {number}",
        f"PEER{number}",
        "",
        *where,
        *how,
        "It does not answer.",
        ago(hours=number % 50),
        NOW,
        *OWNER,
    )


def caller(number: int) -> tuple[Any, ...]:
    reason = ("unknown", "address", "service", "called")[number % 4]
    who = (f"CALLER{number}", "PORTICO", f"10.1.{number % 250}.7")
    return (*who, reason, f"CALLER{number} is not registered.", NOW, NOW, number, "ignored" if number % 9 == 0 else "")


def storage(number: int) -> tuple[Any, ...]:
    state = ("ok", "failed", "untested")[number % 3]
    config = f'{{"path": "/mnt/{number}"}}'
    return (f"mirror {number}", "fs", config, "", False, "export", "site", state, "Every step passed.", *OWNER)


def user(number: int) -> tuple[Any, ...]:
    return (f"user{number}@bench.example", "-", number % 20 == 0, number % 30 == 0, 0, "", NOW)


def job(number: int) -> tuple[Any, ...]:
    kind = ("export", "echo", "move")[number % 3]
    state = ("done", "failed", "errors", "cancelled", "done")[number % 5]
    what = f"bench/p1 to mirror {number}" if kind == "export" else f"Peer {number}"
    params = '{"path": "bench/p1", "to": "mirror"}'
    head = (number, kind, "worker", what, EMAIL, params, state, NOW, 1, "", NOW)
    return (
        *head,
        100,
        90,
        10,
        10**6,
        "90 of 100 objects exported and verified.",
        '{"bytes": 1000000}',
        SAMPLES,
        *OWNER,
    )


def association(number: int, peers: int) -> tuple[Any, ...]:
    which = 78 if number % 50 == 0 else number % peers + 1  # one scanner calls all day
    outcome = ("released", "released", "aborted", "rejected", "failed")[number % 5]
    head = (number, which, "acceptor", f"PEER{which}", "PORTICO", f"10.0.{which % 250}.7", False, "host 1 1")
    moment, failed = ago(minutes=number // 12), number % 11 == 0
    counts = f'{{"store": {{"done": 100, "failed": {failed:d}}}}}'
    return (*head, moment, moment, moment, outcome, "", "[]", counts, failed, 10**7)


def act(number: int) -> tuple[Any, ...]:
    noun = ("device", "peer", "key", "job", "user")[number % 5]
    detail = f'{{"label": "thing {number}", "before": 1, "after": 2}}'
    who = (NOW, "user", "1", "web", f"{noun}:issued", noun, str(number), "10.0.0.1")
    return (*who, detail, "0" * 64, f"{number:064x}")


def measure(app: Flask, pages: Iterable[tuple[str, str]]) -> Iterator[tuple[str, float, float, int, int]]:
    """Name, median and slowest in milliseconds, statements, kilobytes."""
    client = signed_in(app)
    for name, path in pages:
        times, sent, size = [], 0, 0
        for _ in range(RUNS + 1):
            begin = time.perf_counter()
            answer = client.get(path)
            times.append((time.perf_counter() - begin) * 1000)
            if answer.status_code != 200:
                raise SystemExit(f"{path} answered {answer.status_code}")
            size = len(answer.data)
        with statements() as counted:
            client.get(path)
        sent = len(counted)
        yield name, statistics.median(times[1:]), max(times[1:]), sent, size // 1000


def signed_in(app: Flask) -> FlaskClient:
    client = app.test_client()
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/sign-in").text)
    assert token
    client.post("/sign-in", data={"csrf_token": token[1], "email": EMAIL, "password": PASSWORD})
    return client


@contextlib.contextmanager
def statements() -> Iterator[list[logging.LogRecord]]:
    found: list[logging.LogRecord] = []
    log, handler = logging.getLogger("peewee"), logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign]
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    try:
        yield found
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)


def report(counted: dict[str, int], rows: list[tuple[str, float, float, int, int]], *, kept: bool) -> None:
    """Print the table, and put it in the place of the last one if it is to be kept."""
    day = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    what = ", ".join(f"{number:,} {name.lower()} rows" for name, number in counted.items())
    text = [f"## Pages, {day}", "", f"{os.cpu_count()} cores, Python {platform.python_version()}; {what}.", ""]
    text += [f"Median and slowest of {RUNS} requests, on the server, signed in as a site admin.", ""]
    text += ["| page | median ms | slowest ms | statements | kB |", "|---|---:|---:|---:|---:|"]
    text += [f"| {name} | {middle:.0f} | {worst:.0f} | {sent} | {size} |" for name, middle, worst, sent, size in rows]
    table = "\n".join(text)
    print(table)
    if kept:
        results.keep("pages", table)


if __name__ == "__main__":
    main()
