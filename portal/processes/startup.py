"""What `portal up` does before any process starts: folder, lock, port, tables, the first admin."""

import contextlib
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
from portal.access.actors import operator
from portal.archive import ballast
from portal.errors import BadValue, Busy
from portal.maintenance import recovery, reindex, segment_copies
from portal.processes import lost_database
from portal.settings import Settings
from portal.users import users

SITE_ENTRIES = {"archive", "ballast", "cache", "keys", "logs", "lost+found", "portal.db", "run", "storage"}
LOCK_TRIES, LOCK_PAUSE_SECONDS = 10, 0.02
FIRST_ADMIN = "admin@portico.example"


def open_folder(chosen: Settings) -> None:
    """Make the data folder, closed to other accounts. Raises BadValue for a folder that holds something else."""
    with _usable(chosen):
        chosen.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = {path.name for path in chosen.data.iterdir()}
        if not held <= SITE_ENTRIES and not any(name.startswith("portal.db") for name in held):
            raise BadValue(f"{chosen.data} holds other things than a site. Name an empty or a new folder with --data.")
        chosen.data.chmod(0o700)
        ballast.give_up_piece(chosen)
        chosen.run.mkdir(exist_ok=True, mode=0o700)


def open_site(chosen: Settings, *, anew: bool = False) -> None:
    """Bind this process to the site of the folder. Raises Damaged where its database is lost or damaged.

    With `anew`, such a database is set aside; BadValue then where it is whole. Hold the lock for that.
    """
    models.bind(chosen.database)
    with _usable(chosen):
        if anew:
            lost_database.set_aside(chosen)
        else:
            lost_database.require_intact(chosen)
        runtime.start(chosen)


@contextmanager
def _usable(chosen: Settings) -> Iterator[None]:
    """What the system refuses about the data folder, as a sentence."""
    try:
        yield
    except OSError as error:
        raise BadValue(f"The data folder {chosen.data} cannot be used: {error.strerror}.") from error


@contextmanager
def lock(chosen: Settings, url: str) -> Iterator[None]:
    """Hold the site for one `portal up`; whoever asks meanwhile reads who holds it. Raises Busy."""
    descriptor = os.open(_lock_path(chosen), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _locked(descriptor):
            raise Busy(f"Portico runs on {chosen.data} already{_by(chosen)}. Stop that one first.")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(chosen: Settings) -> dict[str, Any] | None:
    """Process id and address of the `portal up` that holds the site; None if none does."""
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
        raise BadValue(_why(host, port, error)) from error


def prepare(chosen: Settings, say: Callable[[str], None], *, anew: bool = False) -> None:
    """Bring the tables to this release, index what a stop left without rows, and make a site's first admin.

    With `anew`, index first the whole archive, in the order in which its objects came.
    """
    for name in migrations.apply(chosen.run / "migrate.lock"):
        say(f"Database: {name} applied.")
    site_key.record_fingerprint(runtime.secrets())
    ballast.refill(chosen)
    with models.connection():
        segment_copies.require_bucket()
        if anew:
            _index_anew(say)
        if entered := recovery.recover():
            say(f"Archive: {entered:,} objects indexed that had been received before a stop.")
        if problems := segment_checks.check_all():
            say(f"Archive: {problems[0].message} See portal status.")
        if not users.list_all():
            _add_first_admin(say)


def _index_anew(say: Callable[[str], None]) -> None:
    report = reindex.run()
    say(f"Archive: {report.recovered:,} objects indexed anew from what the archive recorded.")
    if report.damaged or report.not_restored:
        say(f"Archive: {len(report.damaged):,} places damaged, {len(report.not_restored):,} objects not restored.")
    say("To be set up again: peers, device keys, users, storages, settings. The DIMSE service is disabled.")
    say("Lost: decisions about conflicts, and edits after the objects came. What was in the trash is shown again.")


def _add_first_admin(say: Callable[[str], None]) -> None:
    email = settings.read_variable(os.environ, "PORTAL_ADMIN_EMAIL") or FIRST_ADMIN
    given = settings.read_variable(os.environ, "PORTAL_ADMIN_PASSWORD")
    admin, generated = users.add(email, given, True, actor=operator())
    if generated:
        say(f"First admin: {admin.email}  Password, shown this once: {generated}")
    else:
        say(f"First admin: {admin.email}, with the password of PORTAL_ADMIN_PASSWORD.")


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours now; one that is held for longer than `holder` looks at it is another's."""
    for _ in range(LOCK_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(LOCK_PAUSE_SECONDS)
    return False


def _lock_path(chosen: Settings) -> Path:
    return chosen.run / "up.lock"


def _by(chosen: Settings) -> str:
    written = _written(_lock_path(chosen))
    return f" (process {written['pid']}, {written['url']})" if written else ""


def _written(path: Path) -> dict[str, Any]:
    """What the holder wrote; empty in the moment before it has."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        return {}
    return content


def _why(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use by another program. Name another one with --port."
    if number == errno.EACCES:
        return f"Port {port} is reserved for root. Name one above 1023 with --port."
    return f"{host[:253]} is no address of this machine. Name one with --host, such as 127.0.0.1, or 0.0.0.0 for all."
