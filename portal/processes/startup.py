"""What `portal up` does before it starts any process: folder, lock, port, tables, the first admin."""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from portal import migrations, models, runtime, segment_checks, settings, site_key
from portal.access import audit, audit_anchors
from portal.access.actors import operator
from portal.archive import ballast
from portal.errors import BadValue, Busy
from portal.maintenance import recovery, reindex, segment_copies
from portal.processes import lost_database
from portal.settings import Settings
from portal.users import users

SITE_ENTRIES = {
    "archive",
    "audit-anchors.jsonl",
    "ballast",
    "cache",
    "keys",
    "logs",
    "lost+found",
    "portal.db",
    "run",
    "storage",
}
LOCK_TRIES, LOCK_PAUSE_SECONDS = 10, 0.02
FIRST_ADMIN = "admin@portico.example"


def open_folder(chosen: Settings) -> None:
    """Create the data folder, closed to other accounts. Raises BadValue for a folder with other content."""
    with _usable(chosen):
        chosen.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = {path.name for path in chosen.data.iterdir()}
        if not names <= SITE_ENTRIES and not any(name.startswith("portal.db") for name in names):
            raise BadValue(
                f"{chosen.data} contains other files than a site's. Name an empty or new folder with --data."
            )
        chosen.data.chmod(0o700)
        ballast.give_up_piece(chosen)
        chosen.run.mkdir(exist_ok=True, mode=0o700)


def open_site(chosen: Settings, *, rebuild: bool = False) -> None:
    """Bind this process to the site of the folder. Raises Damaged if its database is lost or damaged.

    With `rebuild`, such a database is set aside, and BadValue is raised if it is intact; the caller holds the lock.
    """
    models.bind(chosen.database)
    with _usable(chosen):
        if rebuild:
            lost_database.set_aside(chosen)
        else:
            lost_database.require_intact(chosen)
        runtime.start(chosen)


@contextmanager
def _usable(chosen: Settings) -> Iterator[None]:
    """Turn errors of the operating system into a BadValue about the data folder."""
    try:
        yield
    except OSError as error:
        raise BadValue(f"The data folder {chosen.data} cannot be used: {error.strerror}.") from error


@contextmanager
def lock(chosen: Settings, url: str) -> Iterator[None]:
    """Lock the site for one `portal up`; the lock file tells others its process id and address. Raises Busy."""
    descriptor = os.open(_lock_path(chosen), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # `holder` takes the lock for a moment: only one that is held for longer is another's.
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOCK_PAUSE_SECONDS)
        else:
            written = _written(_lock_path(chosen))
            by = f" (process {written['pid']}, {written['url']})" if written else ""
            raise Busy(f"Portico already runs on {chosen.data}{by}. Stop that one first.")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(chosen: Settings) -> dict[str, Any] | None:
    """Process id and address of the `portal up` that runs on the site; None if none does."""
    try:
        with _lock_path(chosen).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _written(_lock_path(chosen))
    return None


def check_port(host: str, port: int) -> None:
    """Raises BadValue unless the web server can listen there."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _name, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            message = f"Port {port} on {host} is in use by another program. Name another one with --port."
        elif number == errno.EACCES:
            message = f"Port {port} is reserved for root. Name one above 1023 with --port."
        else:
            message = (
                f"{host[:253]} is not an address of this machine. Name one with --host, such as 127.0.0.1 or 0.0.0.0."
            )
        raise BadValue(message) from error


def prepare(chosen: Settings, say: Callable[[str], None], *, rebuild: bool = False) -> None:
    """Migrate the tables to this release, index records without rows, and create the first admin of a new site.

    With `rebuild`, first index the whole archive, in the order in which its objects arrived.
    """
    for name in migrations.apply(chosen.run / "migrate.lock"):
        say(f"Database: {name} applied.")
    site_key.record_fingerprint(runtime.secrets())
    with runtime.connection():
        audit.begin_key(runtime.secrets())
    ballast.refill(chosen)
    with models.connection():
        segment_copies.require_bucket()
        if rebuild:
            report = reindex.run()
            say(f"Archive: {report.recovered:,} objects indexed from what the archive recorded.")
            if report.damaged or report.not_restored:
                damaged, not_restored = len(report.damaged), len(report.not_restored)
                say(f"Archive: {damaged:,} places damaged, {not_restored:,} objects not restored.")
            say("To be set up again: peers, device keys, users, storages, settings. The DIMSE service is disabled.")
            say("Lost: decisions about conflicts, and edits after arrival. What was in the trash is visible again.")
        if recovered := recovery.recover():
            say(f"Archive: {recovered:,} objects indexed that were received before a stop.")
        if problems := segment_checks.check_all():
            say(f"Archive: {problems[0].message} See portal status.")
        if not users.list_all():
            email = settings.read_variable(os.environ, "PORTAL_ADMIN_EMAIL") or FIRST_ADMIN
            password = settings.read_variable(os.environ, "PORTAL_ADMIN_PASSWORD")
            admin, generated = users.add(email, password, True, actor=operator())
            if generated:
                say(f"First admin: {admin.email}  Password (shown only once): {generated}")
            else:
                say(f"First admin: {admin.email}, with the password of PORTAL_ADMIN_PASSWORD.")
        audit_anchors.try_to_add("start")


def _lock_path(chosen: Settings) -> Path:
    return chosen.run / "up.lock"


def _written(path: Path) -> dict[str, Any]:
    """What the holder of the lock wrote to it; empty before it has."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        return {}
    return content
