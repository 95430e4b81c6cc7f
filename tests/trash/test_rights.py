"""Who may move what to the trash, restore it and purge it (docs/decisions/0098)."""

import pytest

from portal import runtime
from portal.access.actors import Actor
from portal.errors import Busy, Missing, NotAllowed, Taken
from portal.models import Acquisition, File, Group, Project, Session, Storage, Subject
from portal.settings import Settings
from portal.storage import storages
from portal.trash import original, removal, trash
from portal.tree import containers, projects
from portal.users import grants, users
from tests.fixtures.archive import a_project, an_object, store, upload


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


def person(role: str, admin: Actor) -> Actor:
    account, _ = users.add(f"{role}@site.example", "long enough", actor=admin)
    grants.add(account.id, "neuro/trial", role, actor=admin)
    return users.actor(account, "127.0.0.1")


@pytest.fixture
def writer(project: Project, admin: Actor) -> Actor:
    return person("rw", admin)


@pytest.fixture
def notes(project: Project, writer: Actor) -> Acquisition:
    """What a user made: a subject, down to a file of notes."""
    subject = containers.add_subject(project.id, "sub-01", actor=writer)
    session = containers.add_session(subject.id, "ses-01", actor=writer)
    acquisition = containers.add_acquisition(session.id, "notes", actor=writer)
    upload(b"notes", acquisition.id, "notes.txt", actor=writer)
    return acquisition


DEVICE = Actor(type="device", id="4", name="CT connector", via="key", is_admin=True)


@pytest.mark.parametrize("kind", ["file", "acquisition", "session", "subject"])
def test_a_user_who_may_write_moves_and_restores_what_users_made(notes: Acquisition, writer: Actor, kind: str) -> None:
    row_id = {
        "file": File.get().id,
        "acquisition": notes.id,
        "session": notes.session_id,
        "subject": notes.session.subject_id,
    }[kind]
    entry = trash.move_to_trash(kind, row_id, actor=writer)
    assert entry.files == 1
    assert trash.restore(entry.id, actor=writer).back == 1


def test_one_file_of_a_device_in_it_makes_the_whole_original(notes: Acquisition, writer: Actor, admin: Actor) -> None:
    mine = File.get()
    upload(b"from the scanner", notes.id, "raw.dat", actor=DEVICE)
    for kind, row_id in (("acquisition", notes.id), ("subject", notes.session.subject_id)):
        with pytest.raises(NotAllowed, match="a device or a peer"):
            trash.move_to_trash(kind, row_id, actor=writer)
    entry = trash.move_to_trash("acquisition", notes.id, actor=admin)
    with pytest.raises(NotAllowed, match="a device or a peer"):
        trash.restore(entry.id, actor=writer)
    trash.restore(entry.id, actor=admin)
    assert trash.move_to_trash("file", mine.id, actor=writer).files == 1


def test_a_version_that_a_device_sent_keeps_its_file_original(notes: Acquisition, writer: Actor) -> None:
    upload(b"from the scanner", notes.id, "raw.dat", actor=DEVICE)
    upload(b"corrected", notes.id, "raw.dat", actor=writer)
    file = File.get(File.name == "raw.dat")
    assert file.origin_type == "user"
    with pytest.raises(NotAllowed, match="a device or a peer"):
        trash.move_to_trash("file", file.id, actor=writer)


def test_a_container_that_a_peer_made_is_original_when_it_is_empty(project: Project, writer: Actor) -> None:
    store(an_object(), project)
    file = File.get()
    assert original.is_live("file", file.id)
    with pytest.raises(NotAllowed):
        trash.move_to_trash("session", Session.get().id, actor=writer)


def test_an_admin_of_the_project_moves_restores_and_purges_everything(project: Project, admin: Actor) -> None:
    manager = person("admin", admin)
    store(an_object(), project)
    entry = trash.move_to_trash("subject", Subject.get().id, actor=manager)
    assert trash.restore(entry.id, actor=manager).back == 1
    entry = trash.move_to_trash("subject", Subject.get().id, actor=manager)
    assert trash.purge(entry.id, actor=manager).files == 1
    assert runtime.archive()


def test_nobody_but_an_admin_of_the_project_purges(notes: Acquisition, writer: Actor) -> None:
    entry = trash.move_to_trash("file", File.get().id, actor=writer)
    for refused in (trash.purge, trash.request_purge):
        with pytest.raises(NotAllowed, match="admin of the project"):
            refused(entry.id, actor=writer)
    with pytest.raises(NotAllowed, match="site admin"):
        trash.purge_many(0, actor=writer)


def test_a_reader_moves_and_restores_nothing(notes: Acquisition, writer: Actor, admin: Actor) -> None:
    reader = person("ro", admin)
    with pytest.raises(NotAllowed, match="delete nothing"):
        trash.move_to_trash("acquisition", notes.id, actor=reader)
    entry = trash.move_to_trash("acquisition", notes.id, actor=writer)
    with pytest.raises(NotAllowed, match="delete nothing"):
        trash.restore(entry.id, actor=reader)


def test_an_item_of_another_project_is_not_there(notes: Acquisition, writer: Actor, admin: Actor) -> None:
    a_project("other", actor=admin)
    account, _ = users.add("elsewhere@site.example", "long enough", actor=admin)
    grants.add(account.id, "neuro/other", "admin", actor=admin)
    elsewhere = users.actor(account, "127.0.0.1")
    entry = trash.move_to_trash("acquisition", notes.id, actor=writer)
    for refused in (trash.restore, trash.purge):
        with pytest.raises(Missing, match="do not have access"):
            refused(entry.id, actor=elsewhere)


def test_what_a_storage_is_visible_to_is_not_deleted_and_its_name_not_taken(
    site: Settings, mirror: Storage, admin: Actor
) -> None:
    vault, other = a_project("Vault", actor=admin), a_project("Other", actor=admin)
    storages.edit("mirror", visible="project:neuro/Vault", actor=admin)
    with pytest.raises(Busy, match="The storage mirror is visible to neuro/Vault"):
        removal.remove("project", vault.id, actor=admin)
    Project.delete_by_id(vault.id)
    with pytest.raises(Taken, match="The storage mirror is kept for a former project neuro/Vault"):
        projects.edit(other.id, label="Vault", ae_title="", actor=admin)
    with pytest.raises(Taken, match="The storage mirror"):
        projects.add("neuro/Vault", actor=admin)
    storages.edit("mirror", visible="group:neuro", actor=admin)
    removal.remove("project", other.id, actor=admin)
    with pytest.raises(Busy, match="The storage mirror is visible to the group neuro"):
        removal.remove_group("neuro", actor=admin)
    storages.edit("mirror", visible="site", actor=admin)
    removal.remove_group("neuro", actor=admin)
    assert not Group.select().where(Group.code == "neuro").exists()
