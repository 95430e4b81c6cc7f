"""An upload whose container is deleted while its bytes are written is refused, and nothing brings it back."""

from collections.abc import Callable
from typing import Any

import pytest

from portal import runtime
from portal.access import rights
from portal.access.actors import Actor
from portal.archive import Archive, Place, Stream
from portal.errors import Missing
from portal.ingest.placement import Placement
from portal.ingest.register import Stored
from portal.ingest.uploads import Upload
from portal.maintenance import recovery, reindex, release
from portal.models import Acquisition, Blob, File, Project, PurgedRecord
from portal.settings import Settings
from portal.trash import removal, trash
from portal.tree import containers
from tests.fixtures.archive import a_project, upload, vendor_file

CONTENTS = {"plain.txt": b"precious", "ct.dcm": vendor_file("CT_small.dcm").read_bytes()}


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def acquisition(project: Project, admin: Actor) -> int:
    subject = containers.add_subject(project.id, "sub-01", actor=admin)
    session = containers.add_session(subject.id, "ses-1", actor=admin)
    return containers.add_acquisition(session.id, "acq", actor=admin).id


@pytest.fixture
def after_the_record(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Has something happen right after the next record is durable, in either way of writing it."""

    def install(happen: Callable[[], Any]) -> None:
        pending = [happen]

        def then(write: Callable[..., Place]) -> Callable[..., Place]:
            def written(*args: Any) -> Place:
                place = write(*args)
                while pending:
                    pending.pop()()
                return place

            return written

        monkeypatch.setattr(Archive, "append_all", then(Archive.append_all))
        monkeypatch.setattr(Stream, "commit", then(Stream.commit))

    return install


def send(kind: Any, number: int, name: str, *, actor: Actor, memory: int = 1 << 20) -> Stored:
    placement = Placement(container_type=kind, container_id=number)
    with Upload(placement, scope=rights.scope(actor), actor=actor) as received:
        received.begin(name)
        assert received._current is not None
        received._current.limit_memory(memory)
        received.write(CONTENTS[name])
        return received.commit()[0]


def assert_stays_away() -> None:
    """Neither a start nor a reindex indexes the record, and its bytes are freed as those of a purged file."""
    assert PurgedRecord.get().state == "waiting"
    runtime.archive().close()
    before = (File.select().count(), Blob.select().count(), Project.select().count(), Acquisition.select().count())
    assert recovery.recover() == 0
    report = reindex.run()
    assert (report.recovered, report.damaged, report.not_restored) == (0, [], [])
    release.release_purged()
    assert not PurgedRecord.select().where(PurgedRecord.state == "waiting").exists()
    assert recovery.recover() == 0
    after = (File.select().count(), Blob.select().count(), Project.select().count(), Acquisition.select().count())
    assert after == before


@pytest.mark.parametrize("memory", [0, 1 << 20])
@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_for_a_project_that_is_deleted_meanwhile_is_refused_for_good(
    name: str, memory: int, project: Project, admin: Actor, after_the_record: Callable[[Callable[[], Any]], None]
) -> None:
    after_the_record(lambda: removal.remove("project", project.id, actor=admin))
    with pytest.raises(Missing, match="project was deleted or moved"):
        send("project", project.id, name, actor=admin, memory=memory)
    assert (Project.select().count(), File.select().count(), Blob.select().count()) == (0, 0, 0)
    assert_stays_away()


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_for_an_acquisition_that_is_purged_meanwhile_is_refused_for_good(
    name: str, acquisition: int, admin: Actor, after_the_record: Callable[[Callable[[], Any]], None]
) -> None:
    def purge() -> None:
        trash.purge(trash.move_to_trash("acquisition", acquisition, actor=admin).id, actor=admin)

    after_the_record(purge)
    with pytest.raises(Missing, match="acquisition was deleted or moved"):
        send("acquisition", acquisition, name, actor=admin)
    assert (Acquisition.select().count(), File.select().count()) == (0, 0)
    assert_stays_away()


def test_a_file_for_an_acquisition_in_the_trash_takes_it_out(
    acquisition: int, admin: Actor, after_the_record: Callable[[Callable[[], Any]], None]
) -> None:
    after_the_record(lambda: trash.move_to_trash("acquisition", acquisition, actor=admin))
    assert send("acquisition", acquisition, "plain.txt", actor=admin).outcome == "stored"
    assert Acquisition.get_by_id(acquisition).trash is None
    assert not PurgedRecord.select().exists()


def test_a_damaged_file_that_is_purged_while_it_comes_again_is_refused(
    acquisition: int, admin: Actor, after_the_record: Callable[[Callable[[], Any]], None]
) -> None:
    blob = File.get_by_id(upload(b"precious", acquisition, "plain.txt", actor=admin).file_id).blob
    with runtime.archive().path(blob.segment).open("r+b") as segment:
        segment.seek(blob.offset)
        segment.write(b"X")

    def purge() -> None:
        trash.purge(trash.move_to_trash("acquisition", acquisition, actor=admin).id, actor=admin)

    after_the_record(purge)
    with pytest.raises(Missing, match="deleted or moved"):
        send("acquisition", acquisition, "plain.txt", actor=admin)
    assert File.select().count() == 0
