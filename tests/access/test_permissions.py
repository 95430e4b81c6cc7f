"""The table of rights says what `rights` does, and the guide shows the table."""

from collections.abc import Callable
from pathlib import Path

import pytest

from portal import settings
from portal.access import permissions, rights
from portal.access.actors import Actor, Narrowing, operator
from portal.access.permissions import Right
from portal.errors import NotAllowed
from portal.models import Grant, Project
from portal.tree import groups, projects

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "rights.md"


@pytest.fixture
def project(site: settings.Settings) -> Project:
    groups.add("alpha", actor=operator())
    return projects.add("alpha/a", actor=operator())


def actor_of(role: str, project: Project) -> Actor:
    user, device = Actor(type="user", id="7"), Actor(type="device", id="3", is_admin=True)
    grant = {"who_type": "user", "who_id": 7}
    match role:
        case permissions.READ:
            Grant.create(**grant, project=project, role="ro")
        case permissions.WRITE:
            Grant.create(**grant, project=project, role="rw")
        case permissions.PROJECT_ADMIN:
            Grant.create(**grant, project=project, role="admin")
        case permissions.GROUP_ADMIN:
            Grant.create(**grant, group=project.group, role="admin")
        case permissions.SITE_ADMIN:
            return Actor(type="user", id="7", is_admin=True)
        case permissions.DEVICE_KEY:
            return device
        case permissions.GROUP_KEY:
            return Actor(type="device", id="3", narrowed=Narrowing(group_id=project.group_id))
        case permissions.PROJECT_KEY:
            return Actor(type="device", id="3", narrowed=Narrowing(project_id=project.id))
        case _:
            raise AssertionError(role)
    return user


def see(actor: Actor, project: Project) -> None:
    if not rights.scope(actor).reads(project.id):
        raise NotAllowed(permissions.SEE.refusal)


CHECKS: dict[str, Callable[[Actor, Project], None]] = {
    permissions.SEE.words: see,
    permissions.STORE.words: lambda actor, project: rights.require_store(actor, project.id),
    permissions.DELETE.words: lambda actor, project: rights.require_delete(actor, project.id, original=False),
    permissions.DELETE_ORIGINAL.words: lambda actor, project: rights.require_delete(actor, project.id, original=True),
    permissions.MANAGE.words: lambda actor, project: rights.require_manager(actor, project.id),
    permissions.CREATE_PROJECT.words: lambda actor, project: rights.require_project_creator(actor, project.group_id),
    permissions.MANAGE_GROUP.words: lambda actor, project: rights.require_group_admin(actor, project.group_id),
    permissions.ADMINISTER.words: lambda actor, _project: rights.require_admin(actor),
}


def has(right: Right, actor: Actor, project: Project) -> bool:
    try:
        CHECKS[right.words](actor, project)
    except NotAllowed:
        return False
    return True


@pytest.mark.parametrize("role", permissions.ROLES)
def test_each_role_has_the_rights_of_the_table_and_no_other(project: Project, role: str) -> None:
    actor = actor_of(role, project)
    held = [right.words for right in permissions.RIGHTS if has(right, actor, project)]
    assert held == [right.words for right in permissions.RIGHTS if role in right.held_by]


@pytest.mark.parametrize("role", permissions.ROLES)
def test_no_role_has_a_right_on_the_project_of_another_group(project: Project, role: str) -> None:
    groups.add("beta", actor=operator())
    other = projects.add("beta/b", actor=operator())
    actor = actor_of(role, project)
    of_the_site = role in permissions.ADMINISTER.held_by
    for right in permissions.RIGHTS:
        assert has(right, actor, other) == of_the_site


@pytest.mark.parametrize("role", permissions.ROLES)
def test_a_read_only_key_reads_alone(project: Project, role: str) -> None:
    actor = actor_of(role, project)
    read_only = Actor(type=actor.type, id=actor.id, is_admin=actor.is_admin, narrowed=actor.narrowed, read_only=True)
    assert [right for right in permissions.RIGHTS if has(right, read_only, project)] == [permissions.SEE]


def test_the_guide_shows_the_table_as_it_is() -> None:
    assert permissions.as_markdown() in GUIDE.read_text()
