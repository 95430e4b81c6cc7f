"""Readings: who has seen or fetched a session is found with its time, and costs one entry an hour."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest

from portal import models, settings
from portal.access import audit_chain, readings, session_readers
from portal.access.actors import Actor
from portal.access.audit_entries import AuditEntry
from portal.listing import ListRequest, find
from portal.models import Audit, AuditedSession, File
from tests.fixtures.archive import a_project, an_object, store

MORNING = datetime(2026, 11, 23, 9, 5, tzinfo=UTC)


class Clock:
    """Sets the clock of the audit log."""

    def __init__(self, moment: datetime) -> None:
        self._patches = [patch(f"portal.access.{name}.now", lambda: moment) for name in ("audit", "readings")]

    def __enter__(self) -> None:
        for each in self._patches:
            each.start()

    def __exit__(self, *_raised: object) -> None:
        for each in self._patches:
            each.stop()


def seen_of(session: int) -> list[AuditEntry]:
    return [one.entry for one in find(session_readers.of_session(session), ListRequest()).rows]


def actions() -> list[tuple[str, str]]:
    return [(row.action, row.target_id) for row in Audit.select().order_by(Audit.id)]


@pytest.mark.usefixtures("site")
def test_a_session_that_is_seen_all_day_is_one_entry_a_person_and_hour(admin: Actor) -> None:
    for minutes in range(0, 120, 7):
        with Clock(MORNING + timedelta(minutes=minutes)):
            readings.record_view(admin, 7)
            readings.record_view(replace(admin, id="2"), 7)
    seen = [(entry.row.actor_id, entry.row.at.hour) for entry in seen_of(7)]
    assert sorted(seen) == [(who, hour) for who in ("1", "2") for hour in (9, 10, 11)]


@pytest.mark.usefixtures("site")
def test_a_view_that_was_written_costs_no_statement_in_this_process_and_no_entry_in_another(admin: Actor) -> None:
    readings.record_view(admin, 7)
    with patch.object(models.database.obj, "execute_sql", side_effect=AssertionError):
        readings.record_view(admin, 7)
    readings._recorded.clear()  # as another process of the web server begins
    readings.record_view(admin, 7)
    assert actions() == [("session:viewed", "7")]


@pytest.mark.usefixtures("site")
def test_what_is_remembered_of_an_hour_stays_bounded(admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "MAX_REMEMBERED", 5)
    for number in range(1, 20):
        readings.record_view(admin, number)
    assert sum(map(len, readings._recorded.values())) <= 5
    assert len(actions()) == 19


def test_many_files_of_one_session_in_an_hour_are_few_entries(
    site: settings.Settings, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings, "MAX_FILES_AN_HOUR", 3)
    project = a_project(actor=admin)
    store(an_object(), project)
    file = File.get()
    session = readings.sessions_in("project", project.id)
    for version in range(1, 11):
        readings.record_file_download(admin, file, version)
    assert [action for action, _ in actions() if action.endswith(("downloaded", "fetched"))] == [
        *["file:downloaded"] * 3,
        "session:fetched",
    ]
    assert len(seen_of(session[0])) == 4


@pytest.mark.usefixtures("site")
def test_an_export_of_many_sessions_is_found_from_each_of_them(admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "SESSIONS_PER_ENTRY", 4)
    readings.record_disclosure(admin, "export:ended", "job", 5, range(1, 11), done=10)
    readings.record_disclosure(admin, "export:ended", "job", 6, [], done=0)
    assert actions() == [("export:ended", "5")] * 3 + [("export:ended", "6")]
    assert [row.detail.get("part") for row in Audit.select().order_by(Audit.id)] == [1, 2, 3, None]
    assert [entry.row.target_id for entry in seen_of(10)] == ["5"]
    assert AuditedSession.select().count() == 10
    assert list(audit_chain.verify()) == []
