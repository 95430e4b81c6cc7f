"""Data: projects and groups that an admin makes and renames, and what is refused."""

import pytest

from portal import runtime, site_settings
from portal.access.actors import Actor
from portal.models import Audit, Group, Project, Storage
from portal.storage import storages
from portal.tree import groups, projects
from tests.fixtures.archive import a_project
from tests.fixtures.web import Visitor, refusal, text_of

NEW = {"group": "", "code": "neuro", "label": "Brain", "ae_title": "BRAIN"}


def acts() -> list[str]:
    return [row.action for row in Audit.select().where(Audit.target_type.in_(("group", "project")))]


def test_the_first_project_is_made_with_its_group(visitor: Visitor) -> None:
    assert 'href="/data/projects/new"' in visitor.get("/data/").text

    answer = visitor.post("/data/projects/new", NEW, follow_redirects=True)

    assert "neuro/Brain is created." in text_of(answer.text)
    assert projects.get_by_path("neuro/Brain").ae_title == "BRAIN"
    assert acts() == ["group:added", "project:added"]


def test_a_further_project_goes_into_a_group_that_is_there(visitor: Visitor, admin: Actor) -> None:
    a_project("Brain", actor=admin)

    answer = visitor.post("/data/projects/new", {**NEW, "group": "neuro", "label": "Spine", "ae_title": ""})

    assert answer.headers["Location"] == f"/data/project/{projects.get_by_path('neuro/Spine').id}"
    assert projects.get_by_path("neuro/Spine").ae_title is None
    assert Group.select().count() == 1


@pytest.mark.parametrize(
    ("field", "value", "beside", "message"),
    [
        ("code", "", "code", "Choose a group, or enter the code of a new group."),
        ("code", "Neuro Lab", "code", "2 to 32 of the characters"),
        ("code", "lab", "code", "There is a group lab already."),
        ("code", "unknown", "code", "reserved for what could not be placed."),
        ("group", "none", "group", "There is no group 'none'."),
        ("group", "unknown", "group", "reserved for what could not be placed."),
        ("label", "", "label", "at least one visible character"),
        ("label", "a/b", "label", "not contain a slash"),
        ("ae_title", "A" * 17, "ae_title", "has 17 characters; an AE title has at most 16."),
        ("ae_title", "A\\B", "ae_title", "no backslash"),
        ("ae_title", "TAKEN", "ae_title", "Another project has the AE title TAKEN."),
        ("ae_title", "PORTICO", "ae_title", "is the site's own AE title"),
    ],
)
def test_a_project_that_does_not_fit_is_refused_beside_its_field_and_no_group_is_left(
    visitor: Visitor, admin: Actor, field: str, value: str, beside: str, message: str
) -> None:
    groups.add("lab", actor=admin)
    projects.add("lab/Trial", "TAKEN", actor=admin)

    answer = visitor.post("/data/projects/new", {**NEW, field: value})

    refusal(answer, message)
    assert f'id="{beside}-e"' in answer.text
    assert (Group.select().count(), Project.select().count()) == (1, 1)


def test_a_taken_label_is_refused(visitor: Visitor, admin: Actor) -> None:
    a_project("Brain", actor=admin)

    refusal(visitor.post("/data/projects/new", {**NEW, "group": "neuro"}), "There is a project neuro/Brain already.")


def test_a_project_gets_another_label_and_title_and_its_storages_go_along(visitor: Visitor, admin: Actor) -> None:
    project = a_project("Brain", actor=admin)
    path = str(runtime.current().storage_roots[0] / "mirror")
    storages.add("mirror", "fs", path=path, visible="project:neuro/Brain", actor=admin)
    page = visitor.get(f"/data/project/{project.id}").text
    assert f'href="/data/projects/{project.id}/edit"' in page

    form = {"label": "Head", "ae_title": "HEAD"}
    visitor.post(f"/data/projects/{project.id}/edit", form)
    visitor.post(f"/data/projects/{project.id}/edit", form)

    assert projects.get_by_path("neuro/Head").ae_title == "HEAD"
    assert Storage.get().visible == "project:neuro/Head"
    detail = [row.detail for row in Audit.select().where(Audit.action == "project:changed")]
    assert detail == [{"before": {"label": "Brain", "ae_title": None}, "after": {"label": "Head", "ae_title": "HEAD"}}]
    visitor.post(f"/data/projects/{project.id}/edit", {"label": "Head", "ae_title": ""})
    assert projects.get_by_path("neuro/Head").ae_title is None


@pytest.mark.parametrize(
    ("form", "beside", "message"),
    [
        ({"label": "Spine"}, "label", "There is a project neuro/Spine already."),
        ({"label": ""}, "label", "at least one visible character"),
        ({"ae_title": "SPINE"}, "ae_title", "Another project has the AE title SPINE."),
        ({"ae_title": "ä"}, "ae_title", "only ASCII"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_and_changes_nothing(
    visitor: Visitor, admin: Actor, form: dict[str, str], beside: str, message: str
) -> None:
    project = a_project("Brain", actor=admin)
    projects.add("neuro/Spine", "SPINE", actor=admin)

    answer = visitor.post(f"/data/projects/{project.id}/edit", {"label": "Brain", "ae_title": "", **form})

    refusal(answer, message)
    assert f'id="{beside}-e"' in answer.text
    assert projects.get_by_path("neuro/Brain").ae_title is None
    assert "project:changed" not in acts()


def test_a_group_gets_another_label_and_keeps_its_code(visitor: Visitor, admin: Actor) -> None:
    project = a_project("Brain", actor=admin)
    path = f"/data/projects/{project.id}/group"

    visitor.post(path, {"group_label": "Neuroradiology"})
    visitor.post(path, {"group_label": "Neuroradiology"})
    refusal(visitor.post(path, {"group_label": " "}), "at least one visible character")

    assert (Group.get().code, Group.get().label) == ("neuro", "Neuroradiology")
    assert acts().count("group:changed") == 1


def test_what_could_not_be_placed_keeps_its_names(visitor: Visitor) -> None:
    unsorted = projects.ensure_unsorted()
    assert "/edit" not in visitor.get(f"/data/project/{unsorted.id}").text

    refusal(visitor.post(f"/data/projects/{unsorted.id}/edit", {"label": "Mine", "ae_title": ""}), "keep their names")
    refusal(visitor.post(f"/data/projects/{unsorted.id}/group", {"group_label": "Mine"}), "is reserved")

    assert projects.get_by_path("unknown/Unsorted").group.label == "Unknown"


def test_who_has_no_access_makes_and_renames_no_projects(reader: Visitor, stranger: Visitor, admin: Actor) -> None:
    project = a_project("Brain", actor=admin)
    site_settings.change({"site.name": "West"}, actor=admin)
    for path in ("/data/projects/new", f"/data/projects/{project.id}/edit"):
        assert reader.get(path).status_code in (403, 404)
        assert stranger.get(path).status_code == 303
    for path in ("/data/projects/new", f"/data/projects/{project.id}/edit", f"/data/projects/{project.id}/group"):
        assert reader.post(path, {**NEW, "group_label": "x"}).status_code in (403, 404)
    assert "New project" not in reader.get("/data/").text
    assert Project.get().label == "Brain"
