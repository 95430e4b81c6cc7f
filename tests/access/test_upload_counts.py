"""What is uploaded is in the audit log by session and program, however many files it was."""

from datetime import timedelta
from unittest.mock import patch

import pytest

from portal.access import readings, upload_counts
from portal.access.actors import Actor
from portal.models import Audit, File, Session, now
from portal.settings import Settings
from tests.fixtures.archive import a_project, an_object, store

CONNECTOR = Actor(type="device", id="7", via="ptk_1", address="10.0.0.9")


@pytest.fixture
def file(site: Settings, admin: Actor) -> File:
    """A file in an acquisition of a session."""
    project = a_project(actor=admin)
    store(an_object(), project)
    return File.get()


def uploads() -> list[Audit]:
    return list(Audit.select().where(Audit.action.endswith(":uploaded")).order_by(Audit.id))


def test_many_files_into_one_session_are_one_entry_once_they_pause(file: File) -> None:
    for _ in range(50):
        upload_counts.count(CONNECTOR, file.parent_type, file.parent_id, 10)
    upload_counts.flush()
    assert uploads() == []
    with patch("portal.access.upload_counts.now", lambda: now() + timedelta(minutes=2)):
        upload_counts.flush()
        upload_counts.flush()
    [entry] = uploads()
    assert (entry.action, entry.target_id, entry.session) == (
        "session:uploaded",
        str(Session.get().id),
        Session.get().id,
    )
    assert (entry.detail["files"], entry.detail["bytes"]) == (50, 500)
    assert (entry.actor_id, entry.via, entry.address) == ("7", "ptk_1", "10.0.0.9")


def test_an_upload_that_does_not_pause_is_written_every_ten_minutes(file: File) -> None:
    upload_counts.count(CONNECTOR, file.parent_type, file.parent_id, 10)
    with patch("portal.access.upload_counts.now", lambda: now() + timedelta(minutes=11)):
        upload_counts.count(CONNECTOR, file.parent_type, file.parent_id, 10)
        upload_counts.flush()
    assert [entry.detail["files"] for entry in uploads()] == [2]


def test_uploads_beside_the_sessions_and_of_others_are_entries_of_their_own(file: File) -> None:
    upload_counts.count(CONNECTOR, "project", 1, 10)
    upload_counts.count(CONNECTOR, "session", Session.get().id, 10)
    upload_counts.count(Actor(type="user", id="1", via="ptk_2"), "session", Session.get().id, 10)
    upload_counts.flush(everything=True)
    assert [(entry.action, entry.actor_type) for entry in uploads()] == [
        ("container:uploaded", "device"),
        ("session:uploaded", "device"),
        ("session:uploaded", "user"),
    ]
    assert readings.sessions_in("project", 1) == [Session.get().id]
