"""Narrowed keys, what keys issue, and rotation."""

from datetime import timedelta

import pytest

from portal.access import rights
from portal.access.actors import Actor, Narrowing, operator
from portal.devices import api_keys, devices, key_authentication, key_narrowing
from portal.errors import BadValue, BadValues, Missing, NotAllowed, NotSignedIn
from portal.models import Audit, Device, Project, now
from portal.tree import groups, projects
from portal.users import grants, users

pytestmark = pytest.mark.usefixtures("site")


@pytest.fixture
def device() -> Device:
    return devices.add("importer-east", "importer", actor=operator())


@pytest.fixture
def places() -> dict[str, Project]:
    for code in ("neuro", "heart"):
        groups.add(code, actor=operator())
    return {path: projects.add(path, actor=operator()) for path in ("neuro/Brain", "neuro/Spine", "heart/Trial")}


def show(issued: api_keys.IssuedKey, address: str = "10.0.0.9") -> Actor:
    return key_authentication.authenticate(issued.secret, address=address, program="importer/2.0")


def test_a_key_of_one_project_reads_and_stores_there_alone(device: Device, places: dict[str, Project]) -> None:
    actor = show(api_keys.issue(device, name="trial", only="heart/Trial", actor=operator()))
    trial = places["heart/Trial"].id
    assert (actor.narrowed, actor.is_admin) == (Narrowing(project_id=trial), False)
    assert rights.scope(actor) == rights.Scope(projects=(trial,), stores=frozenset({trial}))


def test_a_key_of_one_group_reaches_its_later_projects_too(device: Device, places: dict[str, Project]) -> None:
    actor = show(api_keys.issue(device, name="neuro", only=" neuro ", read_only=True, actor=operator()))
    later = projects.add("neuro/Later", actor=operator())
    inside = {places["neuro/Brain"].id, places["neuro/Spine"].id, later.id}
    assert set(rights.scope(actor).projects) == inside
    assert rights.scope(actor).stores == frozenset()


def test_the_key_of_a_user_reads_its_group_no_longer_than_the_user(places: dict[str, Project]) -> None:
    user, _ = users.add("rita@site.example", "long enough", actor=operator())
    grant = grants.add(user.id, "neuro", "ro", actor=operator())
    issued = api_keys.issue(user, name="k", only="neuro", actor=users.actor(user, "127.0.0.1"))
    assert groups.get("neuro", actor=show(issued)).code == "neuro"
    grants.remove(user.id, grant.id, actor=operator())
    with pytest.raises(Missing):
        groups.get("neuro", actor=show(issued))
    assert list(groups.list_all(actor=show(issued)).rows) == []


def test_the_key_of_a_deleted_project_reaches_nothing(device: Device, places: dict[str, Project]) -> None:
    issued = api_keys.issue(device, name="trial", only="heart/Trial", actor=operator())
    Project.delete_by_id(places["heart/Trial"].id)
    assert rights.scope(show(issued)) == rights.NO_ACCESS
    assert key_narrowing.in_words(issued.row, key_narrowing.place_names([issued.row])[issued.row.id]) == (
        key_narrowing.DELETED_PLACE
    )


@pytest.mark.parametrize(
    "only", ["nowhere", "neuro/Nothing", "neuro/Brain/x", "/", "*", pytest.param("x" * 5000, id="long")]
)
def test_a_place_that_there_is_not_is_refused(device: Device, places: dict[str, Project], only: str) -> None:
    with pytest.raises(BadValue, match="There is no") as caught:
        api_keys.issue(device, name="k", only=only, actor=operator())
    assert caught.value.field == "only"
    assert api_keys.for_owner(device) == []


def test_all_that_is_wrong_with_a_key_is_said_at_once(device: Device) -> None:
    with pytest.raises(BadValues) as caught:
        api_keys.issue(device, name=" ", expires=now() - timedelta(days=1), only="x", addresses=["a"], actor=operator())
    assert {error.field for error in caught.value.errors} == {"name", "expires", "only", "addresses"}


def test_more_ranges_than_a_request_could_be_compared_with_are_refused(device: Device) -> None:
    ranges = [f"10.0.{number}.0/24" for number in range(51)]
    with pytest.raises(BadValue, match="at most 50"):
        api_keys.issue(device, name="k", addresses=ranges, actor=operator())


def test_a_narrowing_is_put_into_words(device: Device, places: dict[str, Project]) -> None:
    issued = api_keys.issue(
        device, name="k", only="neuro/Brain", read_only=True, addresses=["10.0.0.9/24", "::1"], actor=operator()
    )
    place = key_narrowing.place_names([issued.row])[issued.row.id]
    words = "Read only, neuro/Brain, from 10.0.0.0/24, ::1/128"
    assert key_narrowing.in_words(issued.row, place) == words
    assert Audit.get(Audit.action == "key:issued").detail["narrowed"] == words


def test_what_a_key_issues_does_not_outlive_it(device: Device) -> None:
    issuing = api_keys.issue(device, name="short", expires=now() + timedelta(days=10), actor=operator())
    actor = show(issuing)
    assert api_keys.issue(device, name="by default", actor=actor).expires_at == issuing.expires_at
    with pytest.raises(BadValue, match="cannot outlive it") as caught:
        api_keys.issue(device, name="longer", expires=now() + timedelta(days=11), actor=actor)
    assert caught.value.field == "expires"
    chained = show(api_keys.issue(device, name="shorter", expires=now() + timedelta(days=5), actor=actor))
    with pytest.raises(BadValue, match="cannot outlive it"):
        api_keys.issue(device, name="as the first", expires=now() + timedelta(days=9), actor=chained)


@pytest.mark.parametrize("narrowing", [{"read_only": True}, {"only": "neuro"}, {"addresses": ["10.0.0.0/8"]}], ids=str)
def test_a_narrowed_key_issues_and_rotates_none(
    device: Device, places: dict[str, Project], narrowing: dict[str, object]
) -> None:
    narrowed = api_keys.issue(device, name="narrowed", actor=operator(), **narrowing)  # type: ignore[arg-type]
    with pytest.raises(NotAllowed):
        api_keys.issue(device, name="wider", actor=show(narrowed))
    with pytest.raises(NotAllowed):
        api_keys.rotate(device, narrowed.key_id, name="again", actor=show(narrowed))
    assert len(api_keys.for_owner(device)) == 1


def test_a_rotated_key_has_the_same_narrowing_and_the_old_one_stays(device: Device, places: dict[str, Project]) -> None:
    old = api_keys.issue(
        device, name="old", only="neuro/Brain", read_only=True, addresses=["10.0.0.0/24"], actor=operator()
    )
    new = api_keys.rotate(device, old.key_id, name="new", after=old.key_id, actor=operator())
    assert (show(new).narrowed, show(new).read_only) == (show(old).narrowed, True)
    assert new.row.replaces == old.key_id
    with pytest.raises(NotSignedIn, match="may not be used from"):
        show(new, "10.0.1.9")
    api_keys.revoke(device, old.key_id, actor=operator())
    assert show(new).via == new.key_id
    with pytest.raises(BadValue, match="is revoked"):
        api_keys.rotate(device, old.key_id, name="newer", actor=operator())
    with pytest.raises(Missing):
        api_keys.rotate(device, "ptk_000000", name="newer", actor=operator())


def test_a_form_to_rotate_that_is_sent_twice_makes_one_key(device: Device) -> None:
    old = api_keys.issue(device, name="old", actor=operator())
    api_keys.rotate(device, old.key_id, name="new", after=old.key_id, actor=operator())
    with pytest.raises(BadValue, match="was created after this page was opened"):
        api_keys.rotate(device, old.key_id, name="new", after=old.key_id, actor=operator())
    assert len(api_keys.for_owner(device)) == 2
