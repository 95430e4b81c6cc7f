"""The operator's command line: its names, its keys and what it prints."""

import io
import json
import os
import pty
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from portal import cli, models, runtime
from portal.access.actors import operator
from portal.cli import waiting
from portal.cli.printing import Answer, print_answer
from portal.errors import Unreachable
from portal.jobs import jobs
from portal.peers import refused_callers
from portal.users import users
from tests.fixtures.cli import Portal
from tests.fixtures.free_ports import free_port

COMMANDS = """
up, status, user add, user list, user password, user disable, user enable, user grant, user revoke, group add,
group list, project add, project list, device add, device key, device list, device disable, device enable,
device revoke, device rotate, device owner, device remove,
dimse enable, dimse disable, dimse show, peer add, peer list, peer show, peer edit, peer enable,
peer disable, peer remove, peer echo, refused list, refused ignore, storage add, storage edit, storage list,
storage show, storage test, storage remove, export start, export list, export show, export verify, export cancel,
job list, job show, job cancel, job retry,
schedule add, schedule list, schedule remove, import start, import list, import show,
import cancel, conflict list, conflict show, conflict resolve, trash list,
trash restore, trash purge, send, reindex, unpack, verify, backup,
restore, migrate, conformance, archive fetch, archive quarantined, archive save
"""


@pytest.mark.parametrize("command", [command.split() for command in COMMANDS.split(",")], ids=" ".join)
def test_every_command_explains_itself_and_takes_a_data_folder(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*command, "--help"]) == 0
    said = capsys.readouterr()
    assert "--data" in said.out
    assert said.err == ""


def test_a_user_gets_a_random_password_that_is_printed_once(portal: Portal) -> None:
    added = portal.ok("user", "add", "Ada@Site.example", "--admin")
    assert added["email"] == "ada@site.example"
    assert added["admin"] is True
    assert added["password"] not in portal.dump()
    assert len(added["password"]) >= 20


def test_a_password_comes_by_standard_input(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"correct horse battery\n")))
    ended = portal("user", "add", "ada@site.example", "--password-stdin")
    assert (ended.code, ended.out) == (0, "User ada@site.example created.\n")


def test_an_admin_who_lost_the_password_gets_another_by_one_command(portal: Portal) -> None:
    portal.ok("user", "add", "ada@site.example", "--admin")
    changed = portal.ok("user", "password", "Ada@Site.example")
    with runtime.connection():
        user = users.sign_in("ada@site.example", changed["password"], address="127.0.0.1")
    assert user.email == "ada@site.example"
    assert user.must_change_password
    assert changed["password"] not in portal.dump()


def test_a_password_is_changed_to_the_one_of_standard_input(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    portal.ok("user", "add", "ada@site.example")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"correct horse battery\n")))
    ended = portal("user", "password", "ada@site.example", "--password-stdin")
    assert (ended.code, ended.out) == (0, "The password of ada@site.example was changed.\n")
    with runtime.connection():
        assert not users.sign_in("ada@site.example", "correct horse battery", address="127.0.0.1").must_change_password


def test_users_are_disabled_enabled_and_given_access(portal: Portal) -> None:
    portal.ok("group", "add", "neuro")
    portal.ok("project", "add", "neuro/Brain")
    portal.ok("user", "add", "ada@site.example", "--admin")
    portal.ok("user", "add", "ben@site.example")
    assert portal.ok("user", "disable", "ben@site.example")["disabled"] is True
    assert portal.ok("user", "enable", "ben@site.example")["disabled"] is False
    assert portal.ok("user", "grant", "ben@site.example", "neuro", "--role", "rw")["access"] == ["neuro:rw"]
    assert portal.ok("user", "grant", "ben@site.example", "neuro/Brain")["access"] == ["neuro:rw", "neuro/Brain:ro"]
    assert portal.ok("user", "revoke", "ben@site.example", "neuro")["access"] == ["neuro/Brain:ro"]
    given = portal.ok("user", "grant", "ben@site.example", "neuro/Brain", "--role", "admin")
    assert given["access"] == ["neuro/Brain:admin"]
    listed = portal.ok("user", "list")
    assert [(row["email"], row["admin"], row["access"]) for row in listed] == [
        ("ada@site.example", True, []),
        ("ben@site.example", False, ["neuro/Brain:admin"]),
    ]


def test_groups_and_projects_are_listed(portal: Portal) -> None:
    assert portal("group", "list").out == "No groups yet. Create one with: portal group add ID\n"
    portal.ok("group", "add", "neuro", "--label", "Neurology")
    portal.ok("project", "add", "neuro/Brain", "--ae-title", "BRAIN")
    assert [(row["id"], row["label"]) for row in portal.ok("group", "list")] == [("neuro", "Neurology")]
    [row] = portal.ok("project", "list")
    assert (row["group"], row["label"], row["ae_title"], row["files"], row["bytes"]) == (
        "neuro",
        "Brain",
        "BRAIN",
        0,
        0,
    )


def test_sizes_and_times_are_printed_as_people_read_them(portal: Portal) -> None:
    portal.ok("device", "add", "Connector 1")
    assert re.search(
        r"disk +ok +[0-9.,]+ [kMGT]B free for archive, database, run; 0 bytes in the archive", portal("status").out
    )
    portal.ok("user", "add", "ada@site.example")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", portal.ok("user", "list")[0]["created"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", portal.ok("device", "list")[0]["created"])


def test_a_failure_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    refused = "10.0.0.7:104 refuses connections."
    assert print_answer(Answer(view={}, message=refused, failure=refused), as_json=False) == 1
    assert capsys.readouterr() == ("", f"{refused}\n")
    assert print_answer(Answer(view={}, report="web down", failure=refused), as_json=False) == 1
    assert capsys.readouterr() == ("web down\n", f"{refused}\n")


@pytest.mark.usefixtures("site")
def test_waiting_shows_progress_on_a_terminal_and_nothing_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with models.writing():
        job = jobs.create("export", actor=operator(), params={}, total=4)
        models.Job.update(state="running", done=1).where(models.Job.id == job.id).execute()
    with pytest.raises(Unreachable):
        waiting.wait_for_job(job.id, patience=0.2)
    assert capsys.readouterr() == ("", "")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        with pytest.raises(Unreachable):
            waiting.wait_for_job(job.id, patience=0.2)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert f"Export {job.id}, running" in shown
    assert "1/4" in shown


def test_a_project_stands_in_its_group_with_its_own_title(portal: Portal) -> None:
    assert portal.ok("group", "add", "neuro", "--label", "Neurology") == {"id": "neuro", "label": "Neurology"}
    added = portal.ok("project", "add", "neuro/Study A", "--ae-title", "STUDY_A")
    assert (added["group"], added["label"], added["ae_title"]) == ("neuro", "Study A", "STUDY_A")


def test_a_device_lives_from_its_first_key_to_the_revocation(portal: Portal) -> None:
    added = portal.ok("device", "add", "Connector 1", "--type", "connector")
    assert (added["label"], added["type"], len(added["id"])) == ("Connector 1", "connector", 24)
    issued = portal.ok("device", "key", "Connector 1", "--name", "first", "--days", "30")
    assert set(issued) == {"key_id", "secret", "expires_at"}
    assert len(issued["secret"]) == 57
    assert issued["secret"] not in portal.dump()

    [listed] = portal.ok("device", "list")
    assert (listed["keys"], issued["secret"] in json.dumps(listed)) == (1, False)
    assert portal.ok("device", "disable", "Connector 1")["disabled"] is True
    assert portal.ok("device", "enable", "Connector 1")["disabled"] is False
    assert portal.ok("device", "revoke", "Connector 1", issued["key_id"])["keys"] == 0


def test_a_key_is_limited_and_rotated_on_the_command_line(portal: Portal) -> None:
    portal.ok("group", "add", "neuro")
    portal.ok("project", "add", "neuro/Study A")
    portal.ok("device", "add", "Connector 1")
    limits = ("--read-only", "--only", "neuro/Study A", "--address", "10.0.4.0/24", "--address", "10.0.5.9")
    old = portal.ok("device", "key", "Connector 1", "--name", "ward", *limits)
    new = portal.ok("device", "rotate", "Connector 1", old["key_id"], "--days", "30")

    [listed] = portal.ok("device", "list")
    newest, oldest = listed["api_keys"]
    for key in (newest, oldest):
        assert (key["name"], key["read_only"], key["only"]) == ("ward", True, "neuro/Study A")
        assert key["addresses"] == ["10.0.4.0/24", "10.0.5.9/32"]
        assert key["used_from"] == []
    assert (newest["key_id"], newest["replaces"], listed["keys"]) == (new["key_id"], old["key_id"], 2)


def test_a_device_has_an_owner_and_is_removed_without_leaving_its_label(portal: Portal) -> None:
    portal.ok("user", "add", "ada@site.example", "--admin")
    assert portal.ok("device", "add", "Connector 1")["sponsor"] == "ada@site.example"
    portal.ok("user", "add", "bob@site.example", "--admin")
    ended = portal("device", "add", "Connector 2")
    assert (ended.code, "--owner" in ended.err) == (1, True)
    assert portal.ok("device", "add", "Connector 2", "--owner", "bob@site.example")["sponsor"] == "bob@site.example"
    assert portal.ok("device", "owner", "Connector 2", "Ada@site.example")["sponsor"] == "ada@site.example"

    secret = portal.ok("device", "key", "Connector 1", "--name", "first")["secret"]
    portal.ok("device", "remove", "Connector 1")
    assert [row["label"] for row in portal.ok("device", "list")] == ["Connector 2"]
    portal.ok("device", "add", "Connector 1", "--owner", "ada@site.example")
    assert secret[:10] in portal.dump()


def test_the_sixth_live_key_is_refused(portal: Portal) -> None:
    portal.ok("device", "add", "Connector 1")
    for number in range(5):
        portal.ok("device", "key", "Connector 1", "--name", f"key {number}", "--expires", "2027-06-30")
    ended = portal("device", "key", "Connector 1", "--name", "one more")
    assert (ended.code, ended.out) == (1, "")
    assert "Revoke one first" in ended.err


def test_the_dimse_service_keeps_what_is_not_named(portal: Portal) -> None:
    enabled = portal.ok("dimse", "enable", "--ae-title", "HOSPITAL", "--host", "127.0.0.1", "--port", "11113")
    assert enabled == portal.ok("dimse", "show")
    assert portal.ok("dimse", "disable") == {**enabled, "enabled": False}
    assert portal.ok("dimse", "enable", "--port", "11114") == {**enabled, "port": 11114}


def test_a_peer_is_changed_in_one_thing_at_a_time(portal: Portal) -> None:
    portal.ok("group", "add", "neuro")
    portal.ok("project", "add", "neuro/Study A")
    portal.ok("project", "add", "neuro/Study: B")
    added = portal.ok(
        *("peer", "add", "WS", "--ae-title", "WS1", "--host", "127.0.0.1", "--port", "104", "--allow", "echo,find"),
        *("--address", "10.0.0.0/24", "--address", "10.1.0.7", "--project", "neuro/Study A:rw"),
        *("--project", "neuro/Study: B:ro", "--store-to", "neuro/Study A", "--our-ae-title", "US"),
    )
    changed = portal.ok("peer", "edit", "WS", "--allow", "echo,find,get")
    assert changed["services"] == ["echo", "find", "get"]
    kept = {name for name in added if name not in ("services", "modified")}
    assert {name: changed[name] for name in kept} == {name: added[name] for name in kept}

    assert portal.ok("peer", "disable", "WS")["enabled"] is False
    assert portal.ok("peer", "enable", "WS")["enabled"] is True
    assert [peer["label"] for peer in portal.ok("peer", "list")] == ["WS"]
    portal.ok("peer", "remove", "WS")
    assert portal.ok("peer", "list") == []


def test_a_new_peer_may_only_echo_and_sees_no_project(portal: Portal) -> None:
    added = portal.ok("peer", "add", "WS", "--ae-title", "WS1")
    assert (added["services"], added["projects"], added["all_projects"]) == (["echo"], [], False)


def test_a_refused_caller_is_listed_without_its_control_characters(portal: Portal) -> None:
    with models.connection():
        refused_callers.record(
            calling="EVIL\x1b[2J", called="PORTICO", address="10.0.0.9", reason="unknown", message="Not registered."
        )
    listed = portal("refused", "list")
    assert "EVIL" in listed.out
    assert "\x1b" not in listed.out
    [row] = portal.ok("refused", "list")
    assert portal.ok("refused", "ignore", str(row["id"]))["decision"] == "ignored"


def test_a_storage_is_added_listed_and_removed(portal: Portal) -> None:
    folder = str(portal.data / "storage" / "disk")
    added = portal.ok("storage", "add", "Disk", "--provider", "fs", "--path", folder, "--prefix", "to/here")
    assert (added["label"], added["provider"], added["state"]) == ("Disk", "fs", "untested")
    assert [row["label"] for row in portal.ok("storage", "list")] == ["Disk"]
    assert portal.ok("storage", "show", "Disk")["path"] == folder
    portal.ok("storage", "remove", "Disk")
    assert portal.ok("storage", "list") == []


def test_an_export_of_which_the_objects_are_counted_later_says_so(portal: Portal) -> None:
    portal.ok("group", "add", "neuro")
    portal.ok("project", "add", "neuro/Study A")
    portal.ok("storage", "add", "Disk", "--provider", "fs", "--path", str(portal.data / "storage" / "disk"))
    ended = portal("export", "start", "neuro/Study A", "--to", "Disk", "--exclude", "modality is MR")
    assert (ended.code, ended.out) == (0, "Export 1 of objects not counted yet: waiting.\n")


def test_an_empty_site_has_nothing_to_list_reindex_or_unpack(portal: Portal, tmp_path: Path) -> None:
    assert portal.ok("export", "list") == []
    assert portal.ok("schedule", "list") == []
    assert portal.ok("conflict", "list") == []
    assert portal.ok("reindex")["indexed"] == 0
    assert portal.ok("unpack", str(tmp_path / "out"))["written"] == 0


def test_lists_tell_a_person_what_to_do_first(portal: Portal) -> None:
    assert portal("peer", "list").out == "No peers yet. Register one with: portal peer add\n"


def test_the_data_folder_comes_from_the_environment(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORTAL_DATA", str(portal.data))
    assert cli.run(["dimse", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ae_title"] == "PORTICO"


def test_a_bad_setting_is_named(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTAL_MIN_FREE", "plenty")
    ended = portal("dimse", "show")
    assert (ended.code, "PORTAL_MIN_FREE" in ended.err) == (1, True)


def test_a_site_of_an_older_release_asks_for_its_migration(portal: Portal) -> None:
    with closing(sqlite3.connect(portal.data / "portal.db", isolation_level=None)) as database:
        database.execute("DELETE FROM schema_migration")
    ended = portal("peer", "list")
    assert (ended.code, "portal migrate" in ended.err) == (1, True)


@pytest.mark.parametrize("command", [("peer", "list"), ("migrate",), ("up",), ("status",)])
def test_a_site_of_a_newer_release_is_left_alone(portal: Portal, command: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(portal.data / "portal.db", isolation_level=None)) as database:
        database.execute("INSERT INTO schema_migration (name, applied) VALUES ('9999_later', '2030-01-01')")
    before = portal.dump()
    ended = portal(*command, *(("--port", str(free_port())) if command == ("up",) else ()))
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "from a newer release of Portico" in ended.err
    assert portal.dump() == before


def test_migrating_twice_does_nothing_twice(portal: Portal) -> None:
    assert portal.ok("migrate") == {"applied": []}


def test_status_says_what_is_down(portal: Portal) -> None:
    ended = portal("status", "--json")
    assert ended.code == 1
    assert ended.view["web"]["answers"] is False
    assert "portal up" in ended.err


def test_the_site_is_for_its_owner_alone(portal: Portal) -> None:
    assert runtime.current().data.stat().st_mode & 0o077 == 0
    assert (portal.data / "keys" / "site.key").stat().st_mode & 0o777 == 0o600
