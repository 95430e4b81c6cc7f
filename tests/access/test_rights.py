from dataclasses import replace

import pytest

from portal import settings
from portal.access import rights
from portal.access.actors import Actor, Narrowing, operator
from portal.errors import NotAllowed
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


USER = Actor(type="user", id="7", name="reader@site.example")
DEVICE = Actor(type="device", id="3", name="CT connector", is_admin=True)


def grant_user(role: str, *, project: Project | None = None, group: Group | None = None) -> None:
    Grant.create(who_type="user", who_id=7, project=project, group=group, role=role)


def narrowed(
    actor: Actor, *, is_admin: bool = False, project: Project | None = None, group: Group | None = None
) -> Actor:
    to = Narrowing(project_id=project and project.id, group_id=group and group.id)
    return replace(actor, is_admin=is_admin, narrowed=to)


def test_an_admin_of_a_project_manages_it_and_no_other(five_projects: dict[str, Project]) -> None:
    grant_user("admin", project=five_projects["alpha/a"])
    grant_user("rw", project=five_projects["beta/a"])
    seen = rights.scope(USER)
    assert seen.manages == {five_projects["alpha/a"].id}
    assert seen.stores == {five_projects["alpha/a"].id, five_projects["beta/a"].id}
    rights.require_manager(USER, five_projects["alpha/a"].id)
    for path in ("alpha/b", "beta/a", "unknown"):
        with pytest.raises(NotAllowed, match="admin of the project"):
            rights.require_manager(USER, five_projects[path].id)


def test_an_admin_of_a_group_manages_its_projects_and_nothing_of_the_site(five_projects: dict[str, Project]) -> None:
    alpha, beta = five_projects["alpha/a"].group, five_projects["beta/a"].group
    grant_user("admin", group=alpha)
    assert rights.scope(USER).manages == {five_projects["alpha/a"].id, five_projects["alpha/b"].id}
    rights.require_group_admin(USER, alpha.id)
    with pytest.raises(NotAllowed, match="admin of the group"):
        rights.require_group_admin(USER, beta.id)
    with pytest.raises(NotAllowed, match="site admin"):
        rights.require_admin(USER)


def test_an_admin_of_a_project_is_no_admin_of_its_group(five_projects: dict[str, Project]) -> None:
    grant_user("admin", project=five_projects["alpha/a"])
    with pytest.raises(NotAllowed, match="admin of the group"):
        rights.require_group_admin(USER, five_projects["alpha/a"].group_id)


def test_an_admin_of_all_groups_leaves_the_unplaced_to_site_admins(five_projects: dict[str, Project]) -> None:
    grant_user("admin")
    assert len(rights.scope(USER).manages) == 4
    with pytest.raises(NotAllowed):
        rights.require_group_admin(USER, five_projects["unknown"].group_id)


def test_a_peer_never_manages(five_projects: dict[str, Project]) -> None:
    grant("admin")
    assert rights.scope(PEER).manages == frozenset()


def test_a_narrowed_device_key_reads_and_stores_within_and_manages_nothing(five_projects: dict[str, Project]) -> None:
    key = narrowed(DEVICE, group=five_projects["alpha/a"].group)
    inside = {five_projects["alpha/a"].id, five_projects["alpha/b"].id}
    assert set(rights.scope(key).projects) == rights.scope(key).stores == inside
    assert rights.scope(key).manages == frozenset()
    assert rights.scope(key, five_projects["beta/a"].id) == rights.NO_ACCESS
    assert rights.scope(narrowed(DEVICE, project=five_projects["beta/b"])).projects == (five_projects["beta/b"].id,)


@pytest.mark.parametrize("is_admin", [True, False])
def test_a_narrowed_key_administers_nothing_of_the_site(five_projects: dict[str, Project], is_admin: bool) -> None:
    key = narrowed(DEVICE, is_admin=is_admin, project=five_projects["alpha/a"])
    assert not rights.is_site_admin(key)
    with pytest.raises(NotAllowed, match="limited to one group or project"):
        rights.require_admin(key)


def test_a_device_key_narrowed_to_a_group_creates_projects_in_that_group_alone(
    five_projects: dict[str, Project],
) -> None:
    alpha, beta = five_projects["alpha/a"].group, five_projects["beta/a"].group
    rights.require_project_creator(narrowed(DEVICE, group=alpha), alpha.id)
    for key in (narrowed(DEVICE, group=beta), narrowed(DEVICE, project=five_projects["alpha/a"])):
        with pytest.raises(NotAllowed):
            rights.require_project_creator(key, alpha.id)


def test_a_narrowed_key_of_a_user_has_what_both_allow(five_projects: dict[str, Project]) -> None:
    grant_user("ro", group=five_projects["alpha/a"].group)
    grant_user("rw", project=five_projects["beta/a"])
    alpha = rights.scope(narrowed(USER, group=five_projects["alpha/a"].group))
    assert alpha.projects == (five_projects["alpha/a"].id, five_projects["alpha/b"].id)
    assert alpha.stores == frozenset()
    assert rights.scope(narrowed(USER, project=five_projects["beta/b"])) == rights.NO_ACCESS
    assert rights.scope(narrowed(USER, project=five_projects["beta/a"])).writes(five_projects["beta/a"].id)


def test_a_narrowing_to_nothing_reaches_nothing(five_projects: dict[str, Project]) -> None:
    assert rights.scope(narrowed(DEVICE)) == rights.NO_ACCESS


def test_what_users_made_is_deleted_by_who_may_store_and_original_data_by_admins(
    five_projects: dict[str, Project],
) -> None:
    grant_user("ro", project=five_projects["alpha/a"])
    grant_user("rw", project=five_projects["alpha/b"])
    grant_user("admin", project=five_projects["beta/a"])
    with pytest.raises(NotAllowed, match="delete nothing"):
        rights.require_delete(USER, five_projects["alpha/a"].id, original=False)
    rights.require_delete(USER, five_projects["alpha/b"].id, original=False)
    with pytest.raises(NotAllowed, match="a device or a peer"):
        rights.require_delete(USER, five_projects["alpha/b"].id, original=True)
    rights.require_delete(USER, five_projects["beta/a"].id, original=True)


def test_a_device_key_deletes_original_data_unless_narrowed_or_read_only(five_projects: dict[str, Project]) -> None:
    project = five_projects["alpha/a"]
    rights.require_delete(DEVICE, project.id, original=True)
    key = narrowed(DEVICE, project=project)
    rights.require_delete(key, project.id, original=False)
    with pytest.raises(NotAllowed):
        rights.require_delete(key, project.id, original=True)
    with pytest.raises(NotAllowed, match="read-only"):
        rights.require_delete(replace(DEVICE, read_only=True), project.id, original=False)


def test_a_read_only_key_of_an_admin_manages_nothing(five_projects: dict[str, Project]) -> None:
    key = replace(DEVICE, read_only=True)
    assert (rights.scope(key).stores, rights.scope(key).manages) == (frozenset(), frozenset())
    for refused in (rights.require_manager, rights.require_group_admin):
        with pytest.raises(NotAllowed, match="read-only"):
            refused(key, 1)
