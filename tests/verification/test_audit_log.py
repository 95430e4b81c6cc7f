"""Whoever changes, cuts off or exchanges the audit log is found: by its chain, or by anchors outside the database."""

import json
import shutil
import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from portal import models, runtime, settings
from portal.access import audit_anchors
from portal.access.actors import Actor
from portal.errors import BadValue
from portal.models import Audit, AuditAnchor, now
from portal.processes import key_replacement
from portal.verification import verification
from tests.verification.sites import Edit, Verify, anchor, write_entries


@pytest.fixture
def log(site: settings.Settings, admin: Actor) -> settings.Settings:
    """A site whose log has entries before and after an anchor."""
    write_entries(admin, 5)
    anchor()
    write_entries(admin, 5)
    return site


def exchange(site: settings.Settings, copy: Path) -> None:
    """Put a copy in the place of the database."""
    models.database.close()
    for path in site.data.glob("portal.db-*"):
        path.unlink()
    shutil.copy(copy, site.database)
    models.database.connect()


def a_copy(site: settings.Settings, folder: Path) -> Path:
    models.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(shutil.copy(site.database, folder / "copy.db"))


def test_an_untouched_log_is_whole(log: settings.Settings, verify: Verify) -> None:
    anchor()
    first = verify()
    assert (first.job.state, first.found) == ("done", [])
    assert (verify().job.state, audit_anchors.known_place()) == ("done", 4)


@pytest.mark.parametrize("column", ["at", "actor_id", "action", "target_id", "address", "detail", "previous", "hash"])
def test_one_changed_byte_of_an_entry_is_found_and_named(
    log: settings.Settings, verify: Verify, database: Edit, column: str
) -> None:
    database(f"UPDATE audit SET {column} = substr({column}, 1, length({column}) - 1) || 'X' WHERE id = 4")
    found = verify()
    assert ("audit", "entry 4") in found.subjects
    assert found.job.state == "errors"
    assert "Restore the database from a backup" in found.found[0][2]


def test_an_entry_removed_from_the_middle_is_found_and_named(
    log: settings.Settings, verify: Verify, database: Edit
) -> None:
    database("DELETE FROM audit WHERE id = 4")
    [(area, subject, message)] = verify().found
    assert (area, subject) == ("audit", "entry 4")
    assert message.startswith("Entry 4 was removed.")


def test_the_last_three_entries_removed_are_found_and_named(
    log: settings.Settings, verify: Verify, database: Edit
) -> None:
    last = Audit.select().count()
    database(f"DELETE FROM audit WHERE id > {last - 3}")
    # The verification writes an entry of its own first, which takes the next number.
    found = verify()
    assert found.found[0][2].startswith(f"Entries {last - 2} to {last} were removed.")


def test_removed_last_entries_are_found_although_the_numbers_given_were_changed_too(
    log: settings.Settings, verify: Verify, database: Edit
) -> None:
    anchor()
    last = Audit.select().count()
    database(
        f"DELETE FROM audit WHERE id > {last - 3}",
        f"UPDATE sqlite_sequence SET seq = {last - 3} WHERE name = 'audit'",
    )
    anchor()
    [(area, subject, message)] = verify().found
    assert (area, subject) == ("audit", f"entry {last - 2}")
    assert message.startswith("The last entries of the audit log were removed.")


def test_a_database_exchanged_for_an_older_copy_is_found_and_named(
    log: settings.Settings, verify: Verify, admin: Actor, tmp_path: Path
) -> None:
    copy, before = a_copy(log, tmp_path), Audit.select().count()
    write_entries(admin, 3)
    anchor()
    exchange(log, copy)
    found = verify().found
    assert [(area, subject) for area, subject, _message in found] == [("audit", "database")]
    assert found[0][2].startswith("The database was exchanged for an older copy. On ")
    assert f"ended with entry {before + 3:,}, and now with entry {before + 1:,}. If you restored" in found[0][2]
    assert "portal verify --accept-restore" in found[0][2]


def test_it_is_found_also_when_the_site_was_used_since(
    log: settings.Settings, verify: Verify, admin: Actor, tmp_path: Path
) -> None:
    copy = a_copy(log, tmp_path)
    write_entries(admin, 3)
    anchor()
    exchange(log, copy)
    audit_anchors.add("start")
    write_entries(admin, 20)
    anchor()
    found = verify().found
    assert [(area, subject) for area, subject, _message in found] == [("audit", "database")]
    assert "exchanged for an older copy" in found[0][2]


def test_a_restore_that_an_admin_accepts_is_found_no_more_and_a_later_one_is(
    log: settings.Settings, verify: Verify, admin: Actor, tmp_path: Path
) -> None:
    copy = a_copy(log, tmp_path)
    write_entries(admin, 3)
    anchor()
    exchange(log, copy)
    audit_anchors.add("start")
    verification.accept_restore("The disk failed on Monday", actor=admin)
    assert verify().found == []
    entry = Audit.get(Audit.action == "audit:restore_accepted")
    assert entry.detail["reason"] == "The disk failed on Monday"
    with pytest.raises(BadValue, match="nothing to accept"):
        verification.accept_restore("Again", actor=admin)

    write_entries(admin, 3)
    anchor()
    exchange(log, copy)
    assert [subject for _area, subject, _message in verify().found] == ["database"]


def test_a_changed_entry_stays_found_whatever_is_accepted(
    log: settings.Settings, verify: Verify, database: Edit, admin: Actor, tmp_path: Path
) -> None:
    log.audit_anchors.unlink()
    verification.accept_restore("The file was deleted by mistake", actor=admin)
    database("UPDATE audit SET address = '10.0.0.66' WHERE id = 4")
    assert [subject for _area, subject, _message in verify().found] == ["entry 4"]


def test_a_deleted_file_of_anchors_is_found(log: settings.Settings, verify: Verify) -> None:
    anchor()
    log.audit_anchors.unlink()
    [(_area, subject, message)] = verify().found
    assert (subject, "lines 1 to 2 are missing" in message) == ("anchors", True)
    assert "lines 1 to 2 are missing" in verify().found[0][2]  # also after a new file was begun


def test_a_file_of_anchors_that_cannot_be_read_is_a_finding_and_stops_nothing(
    log: settings.Settings, verify: Verify
) -> None:
    log.audit_anchors.unlink()
    log.audit_anchors.mkdir()
    verified = verify()
    assert [(subject, "cannot be read" in message) for _area, subject, message in verified.found] == [("anchors", True)]
    assert verified.job.state == "errors"


def test_anchors_cut_off_at_the_end_are_found(log: settings.Settings, verify: Verify) -> None:
    anchor()
    anchor()
    lines = log.audit_anchors.read_bytes().splitlines(keepends=True)
    log.audit_anchors.write_bytes(lines[0])
    assert "lines 2 to 3 are missing" in verify().found[0][2]
    assert "lines 2 to 3 are missing" in verify().found[0][2]


@pytest.mark.parametrize("change", ["number", "hash", "removed", "doubled", "garbage"])
def test_a_changed_line_of_the_file_is_found(log: settings.Settings, verify: Verify, change: str) -> None:
    for _ in range(3):
        anchor()
    lines = log.audit_anchors.read_text().splitlines(keepends=True)
    second = json.loads(lines[1])
    if change in ("number", "hash"):
        second[change] = 3 if change == "number" else "0" * 64
        lines[1] = json.dumps(second) + "\n"
    elif change == "removed":
        del lines[1]
    elif change == "doubled":
        lines.insert(1, lines[1])
    else:
        lines[1] = "\x00" * 40 + "\n"
    log.audit_anchors.write_text("".join(lines))
    found = verify().found
    assert {subject for _area, subject, _message in found} <= {"anchors", "database"}
    assert "The file audit-anchors.jsonl was changed" in found[0][2]


def test_a_line_that_a_power_cut_left_unfinished_is_no_finding(log: settings.Settings, verify: Verify) -> None:
    with log.audit_anchors.open("ab") as file:
        file.write(b'{"place": 2, "rea')
    anchor()
    anchor()
    assert verify().found == []


def test_the_anchors_of_another_site_are_found(log: settings.Settings, verify: Verify) -> None:
    text = log.audit_anchors.read_text()
    log.audit_anchors.write_text(text.replace(audit_anchors.key_name(), "00000000"))
    assert "with the key of another site" in verify().found[0][2]


def test_an_anchor_is_written_when_there_are_new_entries_and_at_least_daily(
    log: settings.Settings, admin: Actor
) -> None:
    def age(**by: int) -> int:
        AuditAnchor.update(at=now() - timedelta(**by)).execute()
        audit_anchors.add_if_due()
        return audit_anchors.known_place()

    assert age(minutes=9) == 1
    assert age(minutes=11) == 2
    assert age(minutes=11) == 2  # nothing new
    assert age(hours=25) == 3
    write_entries(admin, 1)
    assert age(minutes=11) == 4


def test_each_anchor_is_sent_to_syslog(log: settings.Settings, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        runtime.start(replace(log, audit_syslog=receiver.getsockname()))
        models.database.connect(reuse_if_open=True)
        written = anchor()
        message = receiver.recv(2000).decode()
    assert message.startswith("<134>portico: audit anchor ")
    assert f"entries={written.number} hash={written.hash} place=2 " in message


def test_a_syslog_that_is_away_keeps_nothing_from_being_anchored(log: settings.Settings, tmp_path: Path) -> None:
    runtime.start(replace(log, audit_syslog=str(tmp_path / "nobody")))
    models.database.connect(reuse_if_open=True)
    assert anchor().place == 2


def test_a_log_and_anchors_of_before_the_sites_key_was_replaced_are_no_findings(
    log: settings.Settings, verify: Verify, admin: Actor
) -> None:
    assert verify().found == []
    key_replacement.replace(log, actor=admin)
    runtime.start(log)
    models.database.connect(reuse_if_open=True)
    audit_anchors.add("start")
    write_entries(admin, 3)
    assert verify().found == []
    text = log.audit_anchors.read_text()
    log.audit_anchors.write_text(text.replace('"mac": "', '"mac": "0', 1))
    assert "line 2, or the one before it, was changed" in verify().found[0][2]
