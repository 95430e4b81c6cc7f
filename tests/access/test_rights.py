import pytest

from portal import settings
from portal.access import rights
from portal.access.actors import Actor, operator
from portal.models import Grant, Group, Project
from portal.tree import groups, projects

PEER = Actor(type="peer", id="7", name="CT room")


@pytest.fixture
def five_projects(site: settings.Settings) -> dict[str, Project]:
    """Two groups of two projects, and what could not be placed."""
    for code in ("alpha", "beta"):
        groups.add(code, actor=operator())
    found = {path: projects.add(path, actor=operator()) for path in ("alpha/a", "alpha/b", "beta/a", "beta/b")}
    found["unknown"] = projects.ensure_unsorted()
    return found


def grant(role: str = "ro", *, project: Project | None = None, group: Group | None = None) -> None:
    Grant.create(who_type="peer", who_id=7, project=project, group=group, role=role)


def test_without_a_grant_nothing_is_seen_or_stored(five_projects: dict[str, Project]) -> None:
    assert rights.scope(PEER) == rights.NO_ACCESS


def test_projects_come_in_the_order_of_the_grants_each_once(five_projects: dict[str, Project]) -> None:
    grant(project=five_projects["beta/b"])
    grant("rw", group=five_projects["alpha/a"].group)
    grant(group=five_projects["beta/a"].group)
    seen = rights.scope(PEER)
    assert seen.projects == tuple(five_projects[path].id for path in ("beta/b", "alpha/a", "alpha/b", "beta/a"))
    assert seen.stores == {five_projects["alpha/a"].id, five_projects["alpha/b"].id}


def test_a_grant_of_the_whole_site_or_of_its_group_leaves_the_unplaced_out(five_projects: dict[str, Project]) -> None:
    grant("rw")
    grant("rw", group=five_projects["unknown"].group)
    grant("rw", project=five_projects["unknown"])
    assert five_projects["unknown"].id not in rights.scope(PEER).projects
    assert not rights.scope(PEER).writes(five_projects["unknown"].id)
    assert len(rights.scope(PEER).projects) == 4


def test_who_may_only_store_sees_nothing(five_projects: dict[str, Project]) -> None:
    grant("store", project=five_projects["alpha/a"])
    assert rights.scope(PEER).projects == ()
    assert rights.scope(PEER).writes(five_projects["alpha/a"].id)


def test_a_called_project_narrows_and_never_widens(five_projects: dict[str, Project]) -> None:
    grant("rw", project=five_projects["alpha/a"])
    assert rights.scope(PEER, five_projects["alpha/a"].id).projects == (five_projects["alpha/a"].id,)
    assert rights.scope(PEER, five_projects["beta/a"].id) == rights.NO_ACCESS


def test_an_admin_sees_everything(five_projects: dict[str, Project]) -> None:
    assert len(rights.scope(operator()).projects) == 5


def test_another_kind_of_actor_with_the_same_number_has_nothing_of_it(five_projects: dict[str, Project]) -> None:
    grant("rw")
    assert rights.scope(Actor(type="user", id="7", name="reader@site.example")) == rights.NO_ACCESS
    assert rights.scope(Actor(type="job", id="7")) == rights.NO_ACCESS
