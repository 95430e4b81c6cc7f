"""A database from before a purge is put back: what was purged meanwhile is never shown as whole."""

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import Dataset

from portal import runtime, segment_checks
from portal.access import rights
from portal.access.actors import Actor
from portal.dashboard import alerts
from portal.errors import Purged
from portal.maintenance import purge as maintenance_purge
from portal.maintenance import recovery, reindex
from portal.models import Blob, ClosedSegment, File, Project, PurgedRecord, Series, Study, connection
from portal.processes import health
from portal.query import retrieve
from portal.settings import Settings
from portal.trash import trash
from portal.tree import files
from tests.fixtures.archive import a_project, an_object, store
from tests.fixtures.query import matches
from tests.fixtures.web import Visitor


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def put_back(site: Settings, project: Project, tmp_path: Path) -> Callable[[], None]:
    """Three objects; called, it puts back the database of the moment when they had come."""
    for number in range(3):
        store(an_object(SOPInstanceUID=f"1.2.3.{number}"), project)
    copy = tmp_path / "older.db"
    _copy(site.database, copy)
    return lambda: _copy(copy, site.database)


def _copy(source: Path, target: Path) -> None:
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)
    old.close()
    new.close()


def the_file() -> File:
    found: File = File.get(File.name == "1.2.3.1.dcm")
    return found


def purge(admin: Actor, *, days: int = 0) -> None:
    due = maintenance_purge.now() + timedelta(days=days) if days else None
    maintenance_purge.purge(trash.move_to_trash("file", the_file().id, actor=admin), due=due, actor=admin)
    maintenance_purge.release_bytes()
    runtime.archive().close()


def found(admin: Actor) -> list[str]:
    request = Dataset()
    request.QueryRetrieveLevel, request.SOPInstanceUID = "IMAGE", ""
    request.StudyInstanceUID, request.SeriesInstanceUID = Study.get().study_uid, Series.get().series_uid
    return sorted(match.identifier.SOPInstanceUID for match in matches(request, rights.scope(admin)))


def test_reindex_takes_what_was_purged_out_of_an_older_database(put_back: Callable[[], None], admin: Actor) -> None:
    purge(admin)
    put_back()
    report = reindex.run()
    assert [(row["name"], row["file"] > 0) for row in report.purged] == [("1.2.3.1.dcm", True)]
    assert (report.damaged, report.not_restored, report.recovered) == ([], [], 0)
    assert found(admin) == ["1.2.3.0", "1.2.3.2"]
    assert (Study.get().n_instances, File.select().count(), Blob.select().count()) == (2, 2, 2)
    assert PurgedRecord.select().count() == 1
    again = reindex.run()
    assert (again.purged, again.damaged, again.indexed) == ([], [], 0)
    assert segment_checks.known_problems() == []


def test_the_start_says_that_an_older_database_names_what_was_purged(
    put_back: Callable[[], None], site: Settings, admin: Actor
) -> None:
    purge(admin)
    put_back()
    assert ClosedSegment.select().count() == 0
    recovery.recover()
    assert "purged after this database was backed up" in segment_checks.known_problems()[0].message
    assert "portal reindex" in health.report()["segments"]["problem"]
    assert [need.kind for need in alerts.list_all() if need.urgent] == ["segments"]
    reindex.run()
    assert segment_checks.known_problems() == []


def test_a_download_of_what_was_purged_says_so_and_status_too(
    visitor: Visitor, put_back: Callable[[], None], admin: Actor
) -> None:
    purge(admin)
    put_back()
    for page in ("download", "header"):
        answer = visitor.get(f"/data/file/{the_file().id}/{page}")
        assert answer.status_code == 410
        assert "was purged after this database was backed up" in answer.text
        assert "Internal error" not in answer.text
    with connection(), pytest.raises(Purged, match="portal reindex"):
        files.open_content(files.get(the_file().id, rights.scope(admin)))
    assert "purged after this database was backed up" in segment_checks.known_problems()[0].message


def test_a_retrieval_of_what_was_purged_fails_with_what_to_do(put_back: Callable[[], None], admin: Actor) -> None:
    purge(admin)
    put_back()
    number = the_file().id
    outgoing = retrieve.for_objects({(number, "")})[number, ""]
    with pytest.raises(Purged, match="portal reindex"):
        outgoing.check()
    assert "purged after this database was backed up" in segment_checks.known_problems()[0].message


def test_what_is_sent_again_is_whole_and_stays_so(put_back: Callable[[], None], project: Project, admin: Actor) -> None:
    purge(admin)
    put_back()
    store(an_object(SOPInstanceUID="1.2.3.1"), project)
    assert reindex.run().purged == []
    assert found(admin) == ["1.2.3.0", "1.2.3.1", "1.2.3.2"]
    assert b"".join(files.open_content(the_file())[0])
    assert (Blob.select().count(), PurgedRecord.select().count()) == (3, 1)


def test_what_is_marked_but_not_erased_yet_is_kept_by_an_older_database(
    put_back: Callable[[], None], admin: Actor
) -> None:
    purge(admin, days=7)
    put_back()
    recovery.recover()
    report = reindex.run()
    assert (report.purged, report.damaged, segment_checks.known_problems()) == ([], [], [])
    assert b"".join(files.open_content(the_file())[0])
    assert found(admin) == ["1.2.3.0", "1.2.3.1", "1.2.3.2"]
