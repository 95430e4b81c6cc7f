"""A database that is lost or damaged is never taken for a new site; the archive's records make it anew."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from portal import models, runtime, settings
from portal.models import integrity
from portal.processes import startup
from tests.fixtures.archive import store_vendor_file
from tests.fixtures.cli import Portal
from tests.fixtures.free_ports import free_port
from tests.fixtures.up import Up
from tests.fixtures.web import Visitor, text_of

OBJECTS = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")


@pytest.fixture
def full(portal: Portal) -> Portal:
    """A site with three objects in its archive, a peer and a user; nothing runs."""
    portal.ok("user", "add", "ada@site.example", "--admin")
    portal.ok("peer", "add", "PACS", "--ae-title", "PACS1")
    with models.connection():
        for name in OBJECTS:
            store_vendor_file(name)
    runtime.archive().close()
    return portal


def remove(database: Path) -> None:
    for path in database.parent.glob("portal.db*"):
        path.unlink()


def remove_alone(database: Path) -> None:
    database.unlink()


def cut_to_nothing(database: Path) -> None:
    remove(database)
    database.touch()


def drop_every_table(database: Path) -> None:
    remove(database)
    with closing(sqlite3.connect(database)) as emptied:
        emptied.execute("CREATE TABLE one (id)")
        emptied.execute("DROP TABLE one")
        emptied.commit()


def overwrite_its_middle(database: Path) -> None:
    """As a failing disk does: pages of tables are no pages any more."""
    with database.open("r+b") as file:
        for page in range(4, 60):
            file.seek(page * 4096)
            file.write(b"\xa5" * 4096)


def overwrite_its_head(database: Path) -> None:
    with database.open("r+b") as file:
        file.write(b"\0" * 4096)


def cut_in_half(database: Path) -> None:
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size // 2 // 4096 * 4096)


LOSSES = [remove, remove_alone, cut_to_nothing, drop_every_table]
DAMAGES = [overwrite_its_middle, overwrite_its_head, cut_in_half]


def count(database: Path, table: str) -> int:
    with closing(sqlite3.connect(database)) as opened:
        return int(opened.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("command", ["up", "migrate", "peer list"])
def test_an_archive_without_its_database_is_no_new_site(
    lose: Callable[[Path], None], command: str, full: Portal
) -> None:
    database = full.data / "portal.db"
    lose(database)
    before = sorted(path.name for path in full.data.rglob("*") if "run" not in path.parts)
    ended = full(*command.split(), *(("--port", str(free_port())) if command == "up" else ()))
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert f"The database {database} is " in ended.err
    assert "the archive beside it has 1 segment." in ended.err
    assert "portal up --rebuild" in ended.err
    assert sorted(path.name for path in full.data.rglob("*") if "run" not in path.parts) == before


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("command", ["up", "migrate"])
def test_a_damaged_database_is_refused_at_the_start_with_what_to_restore(
    damage: Callable[[Path], None], command: str, full: Portal
) -> None:
    database = full.data / "portal.db"
    damage(database)
    before = database.read_bytes()
    ended = full(*command.split(), *(("--port", str(free_port())) if command == "up" else ()))
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert f"The database {database} is damaged (" in ended.err
    assert "Restore it from a backup" in ended.err
    assert database.read_bytes() == before


def test_a_whole_database_is_not_made_anew(full: Portal) -> None:
    before = full.dump()
    ended = full("up", "--rebuild", "--port", str(free_port()))
    assert (ended.code, "is intact, so it is not rebuilt" in ended.err) == (1, True)
    assert full.dump() == before


def test_a_folder_without_an_archive_is_a_new_site_with_or_without_an_empty_file(portal: Portal) -> None:
    cut_to_nothing(portal.data / "portal.db")
    assert portal("migrate").code == 0
    assert portal.ok("peer", "list") == []


def test_a_check_that_takes_too_long_is_given_up_without_a_complaint(tmp_path: Path) -> None:
    """Its last row is the one that is wrong: it has no word."""
    database = tmp_path / "large.db"
    with closing(sqlite3.connect(database)) as large:
        large.execute("CREATE TABLE one (id INTEGER PRIMARY KEY, word TEXT)")
        large.executemany("INSERT INTO one (word) VALUES (?)", (("word",) for _ in range(50_000)))
        large.execute("INSERT INTO one (word) VALUES (NULL)")
        large.execute("PRAGMA writable_schema = ON")
        large.execute("UPDATE sqlite_master SET sql = replace(sql, 'TEXT', 'TEXT NOT NULL')")
        large.commit()
    assert integrity.find_damage(database, seconds=60) == "NULL value in one.word"
    assert integrity.find_damage(database, seconds=-1) == ""


def test_what_the_archive_recorded_comes_back_once(full: Portal, capsys: pytest.CaptureFixture[str]) -> None:
    remove(full.data / "portal.db")
    chosen = settings.load(full.data)
    for anew in (True, False):
        startup.open_site(chosen, rebuild=anew)
        startup.prepare(chosen, print, rebuild=anew)
        assert (count(chosen.database, "instance"), count(chosen.database, "file")) == (len(OBJECTS), len(OBJECTS))
    said = capsys.readouterr().out
    assert said.count(f"Archive: {len(OBJECTS)} objects indexed from what the archive recorded.") == 1
    assert "To be set up again: peers, device keys, users, storages, settings." in said


def test_a_page_says_that_the_database_was_damaged_meanwhile(visitor: Visitor, site: settings.Settings) -> None:
    assert visitor.get("/").status_code == 200
    models.database.close()  # else this thread's would answer from its memory
    overwrite_its_middle(site.database)
    answer = visitor.get("/")
    assert answer.status_code == 500
    assert "The database is damaged" in text_of(answer.text)
    assert "at the start it reports what to restore" in text_of(answer.text)


@pytest.fixture
def up(full: Portal) -> Iterator[Up]:
    """That site, for a real `portal up`."""
    up = Up(full.data)
    yield up
    up.end()


@pytest.mark.xdist_group("up")
@pytest.mark.timeout(240)
def test_a_damaged_database_is_set_aside_and_the_site_runs_on_a_new_one(up: Up) -> None:
    overwrite_its_middle(up.data / "portal.db")
    up.start("--rebuild")
    up.ready()
    assert "First admin: " in up.said
    assert (count(up.data / "portal.db", "instance"), count(up.data / "portal.db", "peer")) == (len(OBJECTS), 0)
    [aside] = up.data.glob("portal.db.damaged-*")
    assert b"\xa5" * 4096 in aside.read_bytes()
