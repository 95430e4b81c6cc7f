"""The key file of a site: without it, or with another one, nothing starts; beginning anew says what is lost."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from portal import models, runtime, settings, site_key, vault
from tests.fixtures.cli import Portal
from tests.fixtures.free_ports import free_port

COMMANDS = [("peer", "list"), ("migrate",), ("status",), ("user", "add", "ada@site.example"), ("reindex",)]


@pytest.fixture
def furnished(portal: Portal) -> Portal:
    """A site with a device key, a storage with a credential, and a user."""
    portal.ok("user", "add", "ada@site.example", "--admin")
    portal.ok("device", "add", "Connector 1", "--type", "connector")
    portal.ok("device", "key", "Connector 1", "--name", "first")
    secret = portal.data / "secret.txt"
    secret.write_text("planted")
    arguments = ("--bucket", "scans", "--access-key", "K1", "--secret-file", str(secret))
    portal.ok("storage", "add", "Bucket", "--provider", "s3", *arguments)
    secret.unlink()
    portal.ok("storage", "add", "Disk", "--provider", "fs", "--path", str(portal.data / "storage" / "disk"))
    return portal


def key_of(data: Path) -> Path:
    return data / "keys" / "site.key"


def up() -> tuple[str, ...]:
    return ("up", "--port", str(free_port()))


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_a_database_without_its_key_file_is_refused_and_gets_no_new_one(
    furnished: Portal, command: tuple[str, ...] | None
) -> None:
    key_of(furnished.data).rename(furnished.data.parent / "moved")
    before = furnished.dump()
    ended = furnished(*(command or up()))
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert f"The key file {key_of(furnished.data)} is missing" in ended.err
    assert "portal key replace" in ended.err
    assert not key_of(furnished.data).exists()
    assert furnished.dump() == before
    (furnished.data.parent / "moved").rename(key_of(furnished.data))
    assert furnished("peer", "list").code == 0


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_the_key_file_of_another_site_is_refused(furnished: Portal, command: tuple[str, ...] | None) -> None:
    key_of(furnished.data).write_bytes(b"x" * 32)
    before = furnished.dump()
    ended = furnished(*(command or up()))
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "is not the one that belongs to this site's database" in ended.err
    assert furnished.dump() == before


def test_a_process_that_works_for_a_site_refuses_another_key_too(furnished: Portal) -> None:
    key_of(furnished.data).write_bytes(b"x" * 32)
    command = [sys.executable, "-m", "dimse_worker", "work", "--data", str(furnished.data)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "is not the one that belongs to this site's database" in ended.stderr


def test_a_new_key_needs_consent_and_says_first_what_is_lost(furnished: Portal) -> None:
    key_of(furnished.data).unlink()
    before = furnished.dump()
    ended = furnished("key", "replace")
    assert ended.code == 1
    for words in ("Device keys: 1 revoked", "Credentials of storages: 1 lost (Bucket)", "Sessions: 1 users"):
        assert words in ended.out
    assert "portal key replace --i-know" in ended.err
    assert not key_of(furnished.data).exists()
    assert furnished.dump() == before


def test_with_a_new_key_what_is_lost_is_marked_and_the_rest_works(furnished: Portal) -> None:
    key_of(furnished.data).unlink()
    view = furnished.ok("key", "replace", "--i-know")
    assert (view["replaced"], view["device_keys"], view["storages"]) == (True, 1, ["Bucket"])
    told = {row["label"]: row for row in furnished.ok("storage", "list")}
    assert (told["Bucket"]["state"], told["Disk"]["state"]) == ("failed", "untested")
    assert "Enter the secret again" in told["Bucket"]["message"]
    with models.connection():
        assert not models.ApiKey.select().where(models.ApiKey.revoked.is_null()).exists()
        assert models.Audit.select().where(models.Audit.action == "site_key:replaced").count() == 1
    assert furnished.ok("migrate") == {"applied": []}


def test_a_key_of_another_site_is_kept_beside_the_new_one(furnished: Portal) -> None:
    key_of(furnished.data).write_bytes(b"x" * 32)
    furnished.ok("key", "replace", "--i-know")
    [kept] = key_of(furnished.data).parent.glob("site.key.replaced-*")
    assert kept.read_bytes() == b"x" * 32


def test_the_right_key_is_not_replaced(furnished: Portal) -> None:
    before = furnished.dump(), key_of(furnished.data).read_bytes()
    ended = furnished("key", "replace", "--i-know")
    assert (ended.code, "Nothing was replaced" in ended.err) == (1, True)
    assert (furnished.dump(), key_of(furnished.data).read_bytes()) == before


def test_a_replacement_that_was_stopped_after_its_rows_is_done_by_the_next(furnished: Portal) -> None:
    key_of(furnished.data).unlink()
    furnished.ok("key", "replace", "--i-know")
    key_of(furnished.data).rename(key_of(furnished.data).with_name("site.key.new"))
    assert furnished("peer", "list").code == 1
    furnished.ok("key", "replace", "--i-know")
    assert furnished("peer", "list").code == 0


def test_a_site_of_the_release_before_gets_the_fingerprint_of_its_key(furnished: Portal) -> None:
    with closing(sqlite3.connect(furnished.data / "portal.db", isolation_level=None)) as database:
        database.execute("DROP TABLE site_key")
        database.execute("DELETE FROM schema_migration WHERE name = '0040_site_key'")
    assert "0040_site_key" in furnished.ok("migrate")["applied"]
    with models.connection():
        opened = vault.open_vault(key_of(furnished.data))
        assert [row.fingerprint for row in models.SiteKey.select()] == [opened.fingerprint]


def test_a_site_of_the_release_before_with_another_key_is_told_by_its_secrets(furnished: Portal) -> None:
    with closing(sqlite3.connect(furnished.data / "portal.db", isolation_level=None)) as database:
        database.execute("DROP TABLE site_key")
        database.execute("DELETE FROM schema_migration WHERE name = '0040_site_key'")
    key_of(furnished.data).write_bytes(b"x" * 32)
    ended = furnished("migrate")
    assert (ended.code, "is not the one that belongs" in ended.err) == (1, True)


def test_a_database_names_its_key_without_giving_it_away(site: settings.Settings) -> None:
    site_key.record_fingerprint(runtime.secrets())
    site_key.record_fingerprint(runtime.secrets())
    key = site.site_key.read_bytes()
    assert models.SiteKey.select().count() == 1
    for file in site.data.glob("portal.db*"):
        assert key not in file.read_bytes()
        assert key.hex().encode() not in file.read_bytes()
