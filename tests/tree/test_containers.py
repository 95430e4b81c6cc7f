"""Groups, projects, subjects, sessions and acquisitions."""

from datetime import UTC, datetime

import pytest

from portal import models, site_settings
from portal.access import rights
from portal.access.actors import Actor, operator
from portal.access.rights import NO_ACCESS
from portal.errors import BadValue, Missing, NotAllowed, Taken
from portal.listing import PageRequest
from portal.models import Audit, Grant, Group, Project, Session, Subject, User
from portal.tree import containers, groups, projects

pytestmark = pytest.mark.usefixtures("site")


@pytest.fixture
def project() -> Project:
    groups.add("imaging", actor=operator())
    return projects.add("imaging/CT trial", actor=operator())


@pytest.fixture
def reader(project: Project) -> Actor:
    """A user who may read the project and not write to it."""
    user = User.create(email="reader@site.example", password="-")
    Grant.create(who_type="user", who_id=user.id, project=project, role="ro")
    return Actor(type="user", id=str(user.id), name=user.email)


def scope() -> rights.Scope:
    return rights.scope(operator())


def test_a_group_takes_its_code_as_label_unless_it_gets_one() -> None:
    assert groups.add("neuro.lab_1", actor=operator()).label == "neuro.lab_1"
    assert groups.add("cardio", "Cardiology", actor=operator()).label == "Cardiology"


@pytest.mark.parametrize("code", ["", "a", "A1", "a b", "a/b", "..", "-a", "é1", "a" * 33, "a\0b", "ab\n", "१२"])
def test_a_group_code_that_does_not_fit_is_refused_in_one_sentence(code: str) -> None:
    with pytest.raises(BadValue, match="2 to 32 of the characters") as caught:
        groups.add(code, actor=operator())
    assert caught.value.field == "code"
    assert Group.select().count() == 0


def test_a_taken_group_code_and_the_reserved_one_are_refused() -> None:
    groups.add("imaging", actor=operator())
    with pytest.raises(Taken):
        groups.add("imaging", actor=operator())
    with pytest.raises(Taken, match="reserved"):
        groups.add("unknown", actor=operator())


@pytest.mark.parametrize(
    "label",
    ["", "   ", "a/b", "..", ".", "a\0b", "a\nb", "x" * 65, "\u202eabc", "\u200b", "\ud800", "\u00a0", "x" * 100_000],
)
def test_a_label_that_does_not_fit_is_refused_in_one_sentence(project: Project, label: str) -> None:
    with pytest.raises(BadValue) as caught:
        containers.add_subject(project.id, label, actor=operator())
    assert caught.value.field == "label"
    assert Subject.select().count() == 0


@pytest.mark.parametrize("label", ["x" * 64, "سارة", "山田^太郎", "a\\b", "50 %_", "' OR 1=1 --"])
def test_a_label_may_have_any_visible_characters(project: Project, label: str) -> None:
    assert containers.add_subject(project.id, label, actor=operator()).label == label


def test_two_spellings_of_one_letter_are_one_label(project: Project) -> None:
    composed, decomposed = "Mu\u0308ller", "M\u00fcller"
    containers.add_subject(project.id, composed, actor=operator())
    with pytest.raises(Taken):
        containers.add_subject(project.id, decomposed, actor=operator())
    assert containers.get_by_path(["imaging", "CT trial", composed], scope()).label == decomposed


def test_a_project_is_found_by_its_path_and_only_by_that(project: Project) -> None:
    assert projects.get_by_path("imaging/CT trial") == project
    for path in ("imaging/other", "other/CT trial", "imaging/CT trial/x"):
        with pytest.raises(Missing):
            projects.get_by_path(path)
    with pytest.raises(BadValue, match="GROUP/PROJECT"):
        projects.get_by_path("imaging")


def test_a_project_needs_a_group_that_exists() -> None:
    with pytest.raises(Missing, match="no group 'nowhere'"):
        projects.add("nowhere/x", actor=operator())


def test_a_project_label_is_unique_in_its_group_alone(project: Project) -> None:
    groups.add("other", actor=operator())
    projects.add("other/CT trial", actor=operator())
    with pytest.raises(Taken):
        projects.add("imaging/CT trial", actor=operator())


def test_an_ae_title_belongs_to_one_project_or_to_the_site(project: Project) -> None:
    projects.add("imaging/MR", "TRIAL_MR", actor=operator())
    with pytest.raises(Taken, match="TRIAL_MR"):
        projects.add("imaging/US", "TRIAL_MR ", actor=operator())
    with pytest.raises(Taken, match="site's own"):
        projects.add("imaging/US", site_settings.get("dimse.ae_title"), actor=operator())
    with pytest.raises(BadValue, match="17 characters"):
        projects.add("imaging/US", "A" * 17, actor=operator())
    assert Project.select().count() == 2


def test_the_site_cannot_take_the_ae_title_of_a_project(project: Project) -> None:
    projects.add("imaging/MR", "TRIAL_MR", actor=operator())
    with pytest.raises(Taken, match="TRIAL_MR"):
        site_settings.change({"dimse.ae_title": "TRIAL_MR", "dimse.port": 11113}, actor=operator())
    assert (site_settings.get("dimse.ae_title"), site_settings.get("dimse.port")) == ("PORTICO", 11112)


def test_the_reserved_group_takes_no_other_project() -> None:
    projects.ensure_unsorted()
    with pytest.raises(NotAllowed, match="reserved"):
        projects.add("unknown/Mine", actor=operator())


def test_the_project_for_what_could_not_be_placed_is_made_once() -> None:
    first = projects.ensure_unsorted()
    assert projects.ensure_unsorted() == first
    assert projects.get_by_path("unknown/Unsorted") == first
    assert first.origin_type == "system"


def test_it_can_be_made_inside_the_write_block_of_an_ingest() -> None:
    with models.writing():
        assert projects.ensure_unsorted().label == "Unsorted"


def test_a_tree_is_built_and_found_from_group_to_acquisition(project: Project) -> None:
    subject = containers.add_subject(project.id, "sub-01", actor=operator())
    moment = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
    session = containers.add_session(subject.id, "ses-01", uid="1.2.3", timestamp=moment, actor=operator())
    acquisition = containers.add_acquisition(session.id, "T1", uid="1.2.3.4", actor=operator())
    path = ["imaging", "CT trial", "sub-01", "ses-01", "T1"]
    assert containers.get_by_path(path, scope()) == acquisition
    assert containers.get_by_path(path[:4], scope()) == session
    assert containers.project_of(acquisition) == project
    assert containers.get("session", session.id, scope()).timestamp == moment
    assert containers.find_below("subject", subject.id, "session", scope()).read(0, 9) == [session]
    assert containers.list_all("acquisition", scope()).rows == [acquisition]


@pytest.mark.parametrize("path", [[], ["imaging"], ["a"] * 6])
def test_a_path_of_no_level_is_refused(path: list[str]) -> None:
    with pytest.raises(BadValue):
        containers.get_by_path(path, scope())


def test_a_uid_is_checked_and_unique_where_it_must_be(project: Project) -> None:
    subject = containers.add_subject(project.id, "sub-01", actor=operator())
    containers.add_session(subject.id, "one", uid="1.2.3", actor=operator())
    with pytest.raises(Taken):
        containers.add_session(subject.id, "two", uid="1.2.3", actor=operator())
    for uid in ("../evil", "1..2", "1" * 65, "1.2.a"):
        with pytest.raises(BadValue, match="not a valid UID"):
            containers.add_session(subject.id, "three", uid=uid, actor=operator())
    assert Session.select().count() == 1


def test_sessions_without_a_uid_may_share_a_label(project: Project) -> None:
    subject = containers.add_subject(project.id, "sub-01", actor=operator())
    first = containers.add_session(subject.id, "visit", actor=operator())
    containers.add_session(subject.id, "visit", actor=operator())
    assert containers.get_by_path(["imaging", "CT trial", "sub-01", "visit"], scope()) == first


def test_each_container_says_who_made_it(project: Project) -> None:
    device = Actor(type="device", id="7", name="importer", via="ptk_ABC123", is_admin=True)
    subject = containers.add_subject(project.id, "sub-01", actor=device)
    row = Subject.get_by_id(subject.id)
    assert (row.origin_type, row.origin_id, row.origin_via) == ("device", "7", "ptk_ABC123")


def test_each_act_is_in_the_log_and_no_label_of_a_subject(project: Project) -> None:
    containers.add_subject(project.id, "Doe^Jane", actor=operator())
    rows = list(Audit.select().order_by(Audit.id))
    assert [row.action for row in rows] == ["group:added", "project:added", "subject:added"]
    assert "Doe" not in str([row.detail for row in rows])


def test_only_an_admin_adds_groups_and_projects(reader: Actor) -> None:
    for act in (lambda: groups.add("g2", actor=reader), lambda: projects.add("g/p", actor=reader)):
        with pytest.raises(NotAllowed):
            act()


def test_who_may_read_a_project_may_not_add_to_it(project: Project, reader: Actor) -> None:
    assert containers.list_all("project", rights.scope(reader)).rows == [project]
    with pytest.raises(NotAllowed, match="not write"):
        containers.add_subject(project.id, "sub-01", actor=reader)


def test_who_may_write_to_a_project_adds_to_it(project: Project, reader: Actor) -> None:
    Grant.update(role="rw").execute()
    assert containers.add_subject(project.id, "sub-01", actor=reader).label == "sub-01"


def test_a_key_for_reading_adds_nothing(project: Project) -> None:
    narrowed = Actor(type="device", id="1", is_admin=True, read_only=True)
    assert containers.list_all("project", rights.scope(narrowed)).total == 1
    with pytest.raises(NotAllowed):
        groups.add("g2", actor=narrowed)
    with pytest.raises(NotAllowed):
        containers.add_subject(project.id, "sub-01", actor=narrowed)


def test_what_is_out_of_scope_is_missing_at_every_level(project: Project, reader: Actor) -> None:
    groups.add("secret", actor=operator())
    hidden = projects.add("secret/P", actor=operator())
    subject = containers.add_subject(hidden.id, "sub-01", actor=operator())
    seen = rights.scope(reader)
    for kind, number in (("project", hidden.id), ("subject", subject.id)):
        with pytest.raises(Missing):
            containers.get(kind, number, seen)
        with pytest.raises(Missing):
            containers.find_below(kind, number, "session", seen)
    with pytest.raises(Missing):
        containers.get_by_path(["secret", "P", "sub-01"], seen)
    with pytest.raises(Missing):
        groups.get("secret", actor=reader)
    with pytest.raises(Missing):
        containers.add_session(subject.id, "x", actor=reader)
    assert [group.code for group in groups.list_all(actor=reader).rows] == ["imaging"]
    assert containers.list_all("subject", seen).rows == []
    assert containers.list_all("project", NO_ACCESS).rows == []


def test_a_list_comes_in_pages_and_in_the_wanted_order(project: Project) -> None:
    rows = [containers.add_subject(project.id, label, actor=operator()) for label in ("c", "a", "b")]
    part = containers.find_below(
        "project", project.id, "subject", scope(), PageRequest(limit=2, sort=(("label", True),))
    )
    assert ([row.label for row in part.read(0, 9)], part.total) == (["c", "b"], 3)
    rest = containers.list_all("subject", scope(), PageRequest(after=rows[0].id))
    assert [row.label for row in rest.rows] == ["a", "b"]
    assert [row.label for row in containers.list_all("subject", scope(), PageRequest(limit=1, skip=1)).rows] == ["a"]


def test_a_view_has_the_ids_of_the_rest_interface(project: Project) -> None:
    subject = containers.add_subject(project.id, "sub-01", actor=operator())
    assert containers.view(project)["path"] == "imaging/CT trial"
    assert containers.view(subject)["project"] == containers.view(project)["id"]
    assert len(containers.view(subject)["id"]) == 24
