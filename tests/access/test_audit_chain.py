"""The chain of the audit log: whatever somebody does to its rows is found and named; the log itself refuses changes."""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest
from peewee import IntegrityError

from portal import migrations, models, runtime, settings, vault
from portal.access import audit, audit_chain
from portal.access.actors import Actor
from portal.models import Audit, append_only, writing
from portal.processes import key_replacement

TRIGGERS = {"audit_refuses_update", "audit_refuses_delete", "audit_refuses_replace"}
COLUMNS = [field.column_name for field in (*audit.CONTENT, Audit.previous, Audit.hash, Audit.hmac)]


def write(actor: Actor, first: int = 1, last: int = 12) -> None:
    for number in range(first, last + 1):
        with writing():
            audit.record(actor, "peer:edited", "peer", number, before={"label": "a b"}, after={"n": number}, session=3)


@pytest.fixture
def written(site: settings.Settings, admin: Actor) -> settings.Settings:
    """A site with twelve entries."""
    write(admin)
    return site


@pytest.fixture
def forge(written: settings.Settings) -> Callable[..., None]:
    """Runs a statement on the database as somebody who can write the file, and who removes the triggers first."""

    def run(statement: str, *values: object) -> None:
        with closing(sqlite3.connect(written.database)) as file:
            for name in TRIGGERS:
                file.execute(f"DROP TRIGGER IF EXISTS {name}")
            file.execute(statement, values)
            file.commit()

    return run


def found(after: int = 0) -> list[tuple[str, int, int]]:
    return [(problem.kind, problem.number, problem.last) for problem in audit_chain.verify(after)]


def plain_digest(row: Audit) -> str:
    """The digest that earlier releases wrote."""
    content = [
        row.previous,
        row.at.isoformat(timespec="microseconds"),
        row.actor_type,
        row.actor_id,
        row.via,
        row.action,
    ]
    content += [row.target_type, row.target_id, row.address, json.dumps(row.detail, sort_keys=True, ensure_ascii=False)]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


def rewrite(
    forge: Callable[..., None], numbers: range, make: Callable[[Audit, str], tuple[str, str]], **first: str
) -> None:
    """Change the first of these entries, and make digests of it and the others anew, as `make` does."""
    [(column, text)] = first.items()
    forge(f"UPDATE audit SET {column} = ? WHERE id = ?", text, numbers[0])
    previous = Audit.get_by_id(numbers[0]).previous
    for number in numbers:
        forge("UPDATE audit SET previous = ? WHERE id = ?", previous, number)
        previous, hmac = make(Audit.get_by_id(number), previous)
        forge("UPDATE audit SET hash = ?, hmac = ? WHERE id = ?", previous, hmac, number)


@pytest.mark.usefixtures("written")
def test_a_log_that_nobody_touched_is_whole() -> None:
    assert found() == []
    head = audit_chain.head()
    assert head is not None
    assert (head.number, head.hash) == (12, Audit.get_by_id(12).hash)
    assert audit_chain.holds(head)


@pytest.mark.parametrize("column", COLUMNS)
def test_one_changed_byte_of_any_column_is_named(forge: Callable[..., None], column: str) -> None:
    text = str(models.database.execute_sql(f"SELECT {column} FROM audit WHERE id = 7").fetchone()[0])
    for place in range(0, len(text), max(1, len(text) // 9)):
        changed = text[:place] + ("7" if text[place] != "7" else "8") + text[place + 1 :]
        forge(f"UPDATE audit SET {column} = ? WHERE id = 7", changed)
        assert found() == [("forged" if column == "hmac" else "changed", 7, 7)], changed
    forge(f"UPDATE audit SET {column} = ? WHERE id = 7", text)
    assert found() == []


def test_a_blank_that_json_ignores_is_a_change_too(forge: Callable[..., None]) -> None:
    forge("UPDATE audit SET detail = replace(detail, ': ', ':\t') WHERE id = 7")
    assert found() == [("changed", 7, 7)]


@pytest.mark.parametrize(("first", "last"), [(1, 1), (5, 5), (5, 8), (12, 12), (10, 12), (1, 12)])
def test_removed_entries_are_named_at_the_beginning_in_the_middle_and_at_the_end(
    forge: Callable[..., None], admin: Actor, first: int, last: int
) -> None:
    forge("DELETE FROM audit WHERE id BETWEEN ? AND ?", first, last)
    assert found() == [("removed", first, last)]
    write(admin, 13, 14)
    assert found() == [("removed", first, last)]  # what is written later does not take their numbers


def test_removed_entries_are_named_when_the_others_move_up(forge: Callable[..., None]) -> None:
    forge("DELETE FROM audit WHERE id = 5")
    for number in range(6, 13):
        forge("UPDATE audit SET id = id - 1 WHERE id = ?", number)
    assert [number for _kind, number, _last in found()] == [5, 6, 7, 8, 9, 10, 11, 12]


def test_two_entries_that_change_places_are_named_with_their_places(forge: Callable[..., None]) -> None:
    for old, new in ((5, 99), (8, 5), (99, 8)):
        forge("UPDATE audit SET id = ? WHERE id = ?", new, old)
    forge("UPDATE sqlite_sequence SET seq = 12 WHERE name = 'audit'")
    assert [(problem.kind, problem.message) for problem in audit_chain.verify()] == [
        ("moved", "Entry 5 was written as entry 8, and stands in another place."),
        ("moved", "Entry 8 was written as entry 5, and stands in another place."),
    ]


def test_an_entry_that_is_added_without_the_key_is_named(forge: Callable[..., None]) -> None:
    columns = ", ".join(column for column in COLUMNS if column not in ("previous", "hash", "hmac"))
    for hmac in ("", f"{audit.key_name(runtime.secrets())}:{'0' * 64}"):
        added = f"SELECT 13, {columns}, hash, '', ? FROM audit WHERE id = 12"
        forge(f"INSERT INTO audit (id, {columns}, previous, hash, hmac) {added}", hmac)
        row = Audit.get_by_id(13)
        content = [field.db_value(getattr(row, field.name)) for field in audit.CONTENT]
        digest = audit.digest(13, row.previous, content) if hmac else plain_digest(row)
        forge("UPDATE audit SET hash = ? WHERE id = 13", digest)
        assert {(kind, number) for kind, number, _last in found()} == {("forged", 13)}
        forge("DELETE FROM audit WHERE id = 13")


def test_who_makes_all_digests_anew_still_lacks_the_key(forge: Callable[..., None]) -> None:
    stranger = vault.Vault(b"x" * 32)

    def with_another_key(row: Audit, previous: str) -> tuple[str, str]:
        content = [field.db_value(getattr(row, field.name)) for field in audit.CONTENT]
        digest = audit.digest(row.id, previous, content)
        own = audit.hmac(stranger, digest).replace(audit.key_name(stranger), audit.key_name(runtime.secrets()))
        return digest, own

    rewrite(forge, range(7, 13), with_another_key, target_id="8")
    assert [number for _kind, number, _last in found()] == [7, 8, 9, 10, 11, 12]


def test_who_makes_it_a_log_without_a_key_is_found(forge: Callable[..., None]) -> None:
    rewrite(forge, range(1, 13), lambda row, _previous: (plain_digest(row), ""), target_id="8")
    assert found() == [("forged", 12, 12)]


@pytest.mark.usefixtures("written")
def test_verification_goes_on_where_it_stopped(forge: Callable[..., None]) -> None:
    for number in (3, 7, 11):
        forge("UPDATE audit SET address = 'x' WHERE id = ?", number)
    chunks, after = [], 0
    while True:
        chunks.append(audit_chain.verify_chunk(after, limit=4))
        after = chunks[-1].last
        if chunks[-1].is_end:
            break
    assert [[problem.number for problem in chunk.problems] for chunk in chunks] == [[3], [7], [11], []]
    assert [(chunk.entries, chunk.last) for chunk in chunks] == [(4, 4), (4, 8), (4, 12), (0, 12)]
    assert found(after=7) == [("changed", 11, 11)]


def test_a_head_that_is_kept_elsewhere_tells_an_older_copy_and_another_history(
    forge: Callable[..., None], admin: Actor
) -> None:
    kept = audit_chain.head()
    assert kept is not None
    forge("DELETE FROM audit WHERE id > 9")
    forge("UPDATE sqlite_sequence SET seq = 9 WHERE name = 'audit'")
    assert found() == []  # as in an older copy of the database, nothing within it is wrong
    assert not audit_chain.holds(kept)
    write(admin, 10, 12)
    assert found() == []
    assert not audit_chain.holds(kept)


@pytest.fixture
def of_an_earlier_release(site: settings.Settings, admin: Actor) -> settings.Settings:
    """Twelve entries without an HMAC."""
    write(admin)
    with closing(sqlite3.connect(site.database)) as file:
        for name in TRIGGERS:
            file.execute(f"DROP TRIGGER {name}")
        previous = audit.FIRST_PREVIOUS
        for number in range(1, 13):
            row = Audit.get_by_id(number)
            row.previous, row.detail = previous, {"before": "ä", "after": [1, {"b": 2, "a": 1}]}
            previous = plain_digest(row)
            values = (row.previous, json.dumps(row.detail, ensure_ascii=False, sort_keys=True), previous, number)
            file.execute(
                "UPDATE audit SET previous = ?, detail = ?, hash = ?, hmac = '', session = NULL WHERE id = ?", values
            )
        file.commit()
    migrations.apply(site.run / "migrate.lock")
    return site


def test_entries_of_an_earlier_release_stay_and_the_key_vouches_for_them_from_the_next_one_on(
    of_an_earlier_release: settings.Settings, admin: Actor
) -> None:
    before = [row.hash for row in Audit.select().order_by(Audit.id)]
    audit.begin_key(runtime.secrets())
    audit.begin_key(runtime.secrets())
    write(admin, 13, 13)
    rows = list(Audit.select().order_by(Audit.id))
    assert [row.hash for row in rows[:12]] == before
    assert [row.action for row in rows[12:]] == ["audit:key_began", "peer:edited"]
    assert rows[12].detail["entries_before"] == 12
    assert found() == []


@pytest.mark.usefixtures("of_an_earlier_release")
def test_a_change_to_an_entry_of_an_earlier_release_is_named_even_with_its_digest_made_anew(
    forge_earlier: Callable[..., None],
) -> None:
    rewrite(forge_earlier, range(7, 8), lambda row, _previous: (plain_digest(row), ""), address="10.0.0.9")
    assert found() == [("changed", 7, 7)]
    rewrite(forge_earlier, range(7, 13), lambda row, _previous: (plain_digest(row), ""), address="10.0.0.9")
    assert found() == [("changed", 12, 12)]  # the entry with the key was written after another one than this


@pytest.mark.usefixtures("of_an_earlier_release")
def test_entries_of_an_earlier_release_that_were_removed_or_moved_are_named(forge_earlier: Callable[..., None]) -> None:
    for old, new in ((5, 99), (8, 5), (99, 8)):
        forge_earlier("UPDATE audit SET id = ? WHERE id = ?", new, old)
    forge_earlier("UPDATE sqlite_sequence SET seq = 13 WHERE name = 'audit'")
    assert found() == [("moved", 5, 5), ("moved", 8, 8)]
    forge_earlier("DELETE FROM audit WHERE id IN (2, 3)")
    assert found() == [("removed", 2, 3), ("moved", 5, 5), ("moved", 8, 8)]


@pytest.fixture
def forge_earlier(of_an_earlier_release: settings.Settings) -> Callable[..., None]:
    """As `forge`, on a log that goes on with the key."""
    audit.begin_key(runtime.secrets())

    def run(statement: str, *values: object) -> None:
        with closing(sqlite3.connect(of_an_earlier_release.database)) as file:
            for name in TRIGGERS:
                file.execute(f"DROP TRIGGER IF EXISTS {name}")
            file.execute(statement, values)
            file.commit()

    return run


def test_with_a_new_key_the_log_goes_on_and_stays_verifiable(written: settings.Settings, admin: Actor) -> None:
    written.site_key.unlink()
    key_replacement.replace(written, actor=admin)
    runtime.start(written)
    models.database.connect(reuse_if_open=True)
    write(admin, 20, 21)
    rows = list(Audit.select().order_by(Audit.id))
    assert [row.action for row in rows[12:14]] == ["audit:key_began", "site_key:replaced"]
    assert len({audit.key_of(row.hmac) for row in rows}) == 2
    assert found() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET address = 'x' WHERE id = 5",
        "DELETE FROM audit WHERE id = 5",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE id = 5",
    ],
)
@pytest.mark.usefixtures("written")
def test_the_database_refuses_to_change_an_entry(statement: str) -> None:
    with pytest.raises(IntegrityError, match="append-only"):
        models.database.execute_sql(statement)
    assert found() == []


def test_triggers_that_a_rebuilt_table_has_lost_are_there_after_the_migrations(written: settings.Settings) -> None:
    def triggers() -> set[str]:
        rows = models.database.execute_sql(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'"
        )
        return {name for (name,) in rows}

    assert triggers() == TRIGGERS
    models.database.execute_sql("CREATE TABLE audit_new AS SELECT * FROM audit")
    models.database.execute_sql("DROP TRIGGER audit_refuses_delete")
    migrations.apply(written.run / "migrate.lock")
    assert triggers() == TRIGGERS


@pytest.mark.usefixtures("site")
def test_entries_of_many_writers_at_once_are_one_chain_without_a_gap(admin: Actor) -> None:
    def work(number: int) -> None:
        with models.connection():
            write(replace(admin, id=str(number)), 1, 10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.id for row in Audit.select().order_by(Audit.id)] == list(range(1, 41))
    assert found() == []


@pytest.mark.usefixtures("site")
def test_an_act_that_is_rolled_back_leaves_no_entry_and_no_gap(admin: Actor) -> None:
    write(admin, 1, 1)
    with models.database.atomic() as transaction:
        audit.record(admin, "peer:edited", "peer", 1)
        transaction.rollback()
    write(admin, 2, 2)
    assert append_only.last_entry().number == 2
    assert found() == []
