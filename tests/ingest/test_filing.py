"""Objects that are simply new are filed together; whatever else they are, the result is that of one at a time."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import Dataset

from portal import models, runtime
from portal.access.actors import Actor
from portal.archive import Archive, NewRecord, Place
from portal.errors import NoSpace
from portal.ingest import disk_reserve, filing
from portal.ingest.filing import WaitingObject
from portal.ingest.register import Stored
from portal.maintenance import recovery
from portal.models import Blob, Conflict, File, Instance, Project, Series, Study, new_instances
from portal.settings import Settings
from portal.trash import trash
from tests.fixtures.archive import a_project, an_object, begin, encode, store

ALL_TABLES: tuple[Any, ...] = (Study, Series, Instance, File, Blob)


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


def numbered(number: int, **changes: Any) -> Dataset:
    """An object of one series."""
    return an_object(SOPInstanceUID=f"1.2.3.{number}", InstanceNumber=number, **changes)


class Gate:
    """Holds the first append until it is opened, and counts the records of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.appended: list[int] = []
        self.is_reached, self.is_open = threading.Event(), threading.Event()
        append_all = Archive.append_all

        def held(archive: Archive, new: Sequence[NewRecord]) -> list[Place]:
            self.appended.append(len(new))
            self.is_reached.set()
            assert self.is_open.wait(20)
            return append_all(archive, new)

        monkeypatch.setattr(Archive, "append_all", held)


@contextmanager
def side_by_side(gate: Gate, objects: list[Dataset], project: Project) -> Iterator[list[Stored | BaseException]]:
    """Store the first object, and while it is written let the others wait, in their order."""
    results: list[Stored | BaseException] = [Stored(file_id=0, outcome="", size=0, digest="")] * len(objects)

    def send(number: int) -> None:
        with models.connection():
            try:
                results[number] = store(objects[number], project)
            except BaseException as error:
                results[number] = error

    threads = [threading.Thread(target=send, args=(number,)) for number in range(len(objects))]
    for number, thread in enumerate(threads):
        thread.start()
        if number == 0:
            assert gate.is_reached.wait(20)
        else:
            wait_for(lambda number=number: len(filing.filing._waiting) == number)  # type: ignore[misc]
    gate.is_open.set()
    for thread in threads:
        thread.join(20)
    yield results


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("not within 20 s")


def outcomes(results: list[Stored | BaseException]) -> list[str]:
    return [one.outcome if isinstance(one, Stored) else type(one).__name__ for one in results]


def columns(row: Any, *ignored: str) -> dict[str, Any]:
    return {name: value for name, value in row.__data__.items() if name not in {"id", *ignored}}


def test_an_object_that_is_simply_new_gets_the_same_rows_as_one_that_is_judged(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(numbered(1), project)
    quick = store(numbered(2), project)
    monkeypatch.setattr(WaitingObject, "known_series", lambda _one: None)
    judged = store(numbered(3), project)
    assert (quick.outcome, quick.message, quick.size) == (judged.outcome, judged.message, judged.size)

    def rows(stored: Stored) -> list[dict[str, Any]]:
        file = File.get_by_id(stored.file_id)
        instance = Instance.get(Instance.file == file)
        return [
            columns(file, "name", "blob", "created", "modified"),
            columns(file.blob, "digest", "dataset_digest", "offset"),
            columns(instance, "file", "sop_uid", "dataset_digest", "number"),
        ]

    assert rows(quick) == rows(judged)
    assert File.get_by_id(quick.file_id).name == "1.2.3.2.dcm"
    assert File.get_by_id(judged.file_id).created >= File.get_by_id(quick.file_id).created
    assert [(row.n_instances, row.n_series) for row in Study.select()] == [(3, 1)]
    assert [row.n_instances for row in Series.select()] == [3]


def test_those_that_wait_are_written_at_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    store(numbered(0), project)
    gate = Gate(monkeypatch)
    with side_by_side(gate, [numbered(number) for number in range(1, 9)], project) as results:
        assert outcomes(results) == ["stored"] * 8
    assert gate.appended == [1, 7]
    assert (Instance.select().count(), Study.get().n_instances, Series.get().n_instances) == (9, 9, 9)
    assert [row.sop_uid for row in Instance.select().order_by(Instance.id)] == [f"1.2.3.{n}" for n in range(9)]


def test_of_those_that_wait_each_is_judged_in_its_turn(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    store(numbered(0), project)
    gate = Gate(monkeypatch)
    waiting = [
        numbered(1),
        numbered(2),
        numbered(2),
        numbered(2, PixelData=b"\x07" * 32768),
        numbered(3, PatientID="another"),
        numbered(4),
    ]
    with side_by_side(gate, waiting, project) as results:
        assert outcomes(results) == ["stored", "stored", "same", "conflict", "conflict", "stored"]
    assert {row.kind for row in Conflict.select()} == {"content", "patient"}
    assert (Study.get().n_instances, Instance.select().where(Instance.state == "current").count()) == (4, 4)


def test_one_that_cannot_be_filed_fails_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    store(numbered(0), project)
    gate = Gate(monkeypatch)
    add_file, create = new_instances.add_file, File.create

    def refused(name: str) -> None:
        if name == "1.2.3.3.dcm":
            raise ValueError("this one alone")

    def added(known: Any, name: str, *columns: Any) -> int:
        refused(name)
        return add_file(known, name, *columns)

    def created(**fields: Any) -> Any:
        refused(fields["name"])
        return create(**fields)

    monkeypatch.setattr(new_instances, "add_file", added)
    monkeypatch.setattr(File, "create", created)
    with side_by_side(gate, [numbered(number) for number in range(1, 6)], project) as results:
        assert outcomes(results) == ["stored", "stored", "ValueError", "stored", "stored"]
    assert (Study.get().n_instances, Blob.select().count(), File.select().count()) == (5, 5, 5)


def test_a_block_that_fails_leaves_nothing_and_the_next_commit_is_synced(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(numbered(0), project)

    def failing(*_columns: Any) -> None:
        raise ValueError("the last statement")

    with monkeypatch.context() as patched:
        patched.setattr(new_instances, "add_instance", failing)
        assert store(numbered(1), project).outcome == "stored"  # alone, by the other way
    assert (Blob.select().count(), File.select().count(), Study.get().n_instances) == (2, 2, 2)
    assert models.database.execute_sql("PRAGMA synchronous").fetchone() == (2,)
    assert store(numbered(2), project).outcome == "stored"
    assert models.database.execute_sql("PRAGMA synchronous").fetchone() == (2,)


def test_one_that_does_not_fit_on_the_disk_is_refused_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    store(numbered(0), project)
    gate = Gate(monkeypatch)
    large = 40_000

    def check(size: int = 0) -> None:
        if size > large:
            raise NoSpace("The disk is nearly full.")

    monkeypatch.setattr(disk_reserve, "check", check)
    waiting = [numbered(1), numbered(2), numbered(3, PixelData=b"\x07" * 65536), numbered(4)]
    with side_by_side(gate, waiting, project) as results:
        assert outcomes(results) == ["stored", "stored", "NoSpace", "stored"]
    assert Study.get().n_instances == 4


def test_what_another_connection_writes_meanwhile_is_seen(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    store(numbered(0), project)
    append_all = Archive.append_all
    meanwhile = [numbered(2), numbered(1)]

    def store_alone(ds: Dataset) -> None:
        with models.connection(), begin(project, uid=ds.SOPInstanceUID) as incoming:
            incoming.write(encode(ds))
            incoming._commit_alone(incoming._arrival())

    def overtaken(archive: Archive, new: Sequence[NewRecord]) -> list[Place]:
        places = append_all(archive, new)
        while meanwhile:  # another thread's connection is as good as that of another process
            thread = threading.Thread(target=store_alone, args=(meanwhile.pop(),))
            thread.start()
            thread.join(20)
        return places

    monkeypatch.setattr(Archive, "append_all", overtaken)
    assert store(numbered(1), project).outcome == "same"
    assert store(numbered(3), project).outcome == "stored"
    assert (Study.get().n_instances, Instance.select().count()) == (4, 4)


@pytest.mark.parametrize("change", ["session", "acquisition", "file"])
def test_what_is_in_the_trash_is_judged(project: Project, admin: Actor, change: str) -> None:
    stored = store(numbered(0), project)
    acquisition = File.get_by_id(stored.file_id).parent_id
    number = {
        "session": models.Acquisition.get_by_id(acquisition).session_id,
        "acquisition": acquisition,
        "file": stored.file_id,
    }
    trash.move_to_trash(change, number[change], actor=admin)
    assert store(numbered(1), project).outcome == "stored"
    assert store(numbered(2), project).outcome == "stored"
    assert (Study.get().n_instances, File.select().where(File.deleted_at.is_null()).count()) == (2, 2)


def test_of_two_projects_with_a_study_that_of_the_peer_gets_what_is_new(project: Project, admin: Actor) -> None:
    other = a_project("other", actor=admin)
    for where in (project, other):
        with begin(where, uid="1.2.3.0") as incoming:
            incoming.place(filing.Placement(called_project=where.id))
            incoming.write(encode(numbered(0)))
            incoming.commit()
    for where in (other, project, other):
        number = Instance.select().count()
        assert store(numbered(number), where).outcome == "stored"
    assert [(row.project_id, row.n_instances) for row in Study.select()] == [(project.id, 2), (other.id, 3)]


def test_an_issuer_that_comes_later_is_learned(project: Project) -> None:
    store(numbered(0), project)
    store(numbered(1, IssuerOfPatientID="hospital"), project)
    store(numbered(2), project)
    assert [(row.issuer, row.n_instances) for row in Study.select()] == [("hospital", 3)]
    assert [row.issuer for row in models.Subject.select()] == ["hospital"]


def test_records_that_were_written_together_are_indexed_anew_one_by_one(
    project: Project, monkeypatch: pytest.MonkeyPatch, site: Settings
) -> None:
    store(numbered(0), project)
    gate = Gate(monkeypatch)
    with side_by_side(gate, [numbered(number) for number in range(1, 6)], project) as results:
        assert outcomes(results) == ["stored"] * 5

    runtime.archive().close()
    for table in (Instance, Series, Study, File, Blob):
        table.delete().execute()
    assert recovery.recover() == 6
    assert (Study.get().n_instances, Instance.select().count()) == (6, 6)
