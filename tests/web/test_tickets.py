"""Tickets for downloads: short-lived, and never more than their holder may do at that moment."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from portal.access import rights
from portal.access.actors import Actor, operator
from portal.devices import api_keys, devices, key_authentication
from portal.errors import BadValue, Missing
from portal.models import ApiKey, Device, Ticket, User, now, writing
from portal.settings import Settings
from portal.users import tickets, users

ADDRESS = "10.0.0.7"


@pytest.fixture
def device(site: Settings) -> Device:
    return devices.add("importer-east", "importer", actor=operator())


def holder(device: Device, **how: object) -> Actor:
    issued = api_keys.issue(device, name="test", actor=operator(), **how)  # type: ignore[arg-type]
    return key_authentication.authenticate(issued.secret, address=ADDRESS, program="test")


def test_a_ticket_brings_back_who_asked_for_it_and_for_what(device: Device) -> None:
    actor = holder(device, read_only=True)
    secret = tickets.issue("file", {"file": 7}, actor=actor)
    found = tickets.redeem(secret, address="10.9.9.9")
    assert (found.kind, found.target) == ("file", {"file": 7})
    assert found.actor == Actor(**{**vars(actor), "address": "10.9.9.9"})
    assert secret not in str(list(Ticket.select().dicts()))


@pytest.mark.parametrize("secret", ["", "x", "é" * 20, "x" * 100_000, "\0"])
def test_a_ticket_that_nobody_issued_is_unknown(site: Settings, secret: str) -> None:
    with pytest.raises(Missing):
        tickets.redeem(secret, address=ADDRESS)


def test_a_ticket_ends(device: Device) -> None:
    secret = tickets.issue("file", {}, actor=holder(device))
    with writing():
        Ticket.update(expires=now() - timedelta(seconds=1)).execute()
    with pytest.raises(Missing):
        tickets.redeem(secret, address=ADDRESS)
    tickets.issue("file", {}, actor=holder(device))
    assert Ticket.select().count() == 1


def test_a_ticket_ends_with_its_key_and_its_device(device: Device) -> None:
    actor, other = holder(device), holder(device)
    first, second = (tickets.issue("file", {}, actor=one) for one in (actor, other))
    api_keys.revoke(device, actor.via, actor=operator())
    with pytest.raises(Missing):
        tickets.redeem(first, address=ADDRESS)
    assert tickets.redeem(second, address=ADDRESS).actor.via == other.via


def test_a_ticket_ends_when_its_key_expires(device: Device) -> None:
    actor = holder(device)
    secret = tickets.issue("file", {}, actor=actor)
    with writing():
        ApiKey.update(expires=now() - timedelta(seconds=1)).where(ApiKey.key_id == actor.via).execute()
    with pytest.raises(Missing):
        tickets.redeem(secret, address=ADDRESS)


def _sign_out(ann: User) -> None:
    users.sign_out(ann, address=ADDRESS)


def _reset_password(ann: User) -> None:
    users.reset_password(ann.id, "another battery", actor=operator())


def _disable_and_enable(ann: User) -> None:
    users.disable(ann.id, actor=operator())
    users.enable(ann.id, actor=operator())


def _require_another_password(ann: User) -> None:
    with writing():
        User.update(must_change_password=True).where(User.id == ann.id).execute()


@pytest.mark.parametrize("end", [_sign_out, _reset_password, _disable_and_enable, _require_another_password])
def test_a_ticket_of_a_browser_ends_with_the_sessions_of_its_user(site: Settings, end: Callable[[User], None]) -> None:
    users.add("ann@site.example", "correct horse battery", actor=operator())
    users.add("bob@site.example", "correct horse battery", actor=operator())
    ann, bob = users.by_email("ann@site.example"), users.by_email("bob@site.example")
    first, other = (tickets.issue("file", {}, actor=users.actor(one, ADDRESS)) for one in (ann, bob))
    assert tickets.redeem(first, address=ADDRESS).actor == users.actor(ann, ADDRESS)
    end(ann)
    with pytest.raises(Missing):
        tickets.redeem(first, address=ADDRESS)
    assert tickets.redeem(other, address=ADDRESS).actor.name == "bob@site.example"
    if end is not _require_another_password:
        again = tickets.issue("file", {}, actor=users.actor(users.get(ann.id), ADDRESS))
        assert tickets.redeem(again, address=ADDRESS).actor.id == str(ann.id)


def test_a_ticket_of_a_user_has_the_rights_of_the_moment(site: Settings, admin: Actor) -> None:
    users.add("ann@site.example", "correct horse battery", True, actor=operator())
    ann = User.get(User.email == "ann@site.example")
    secret = tickets.issue("containers", {}, actor=users.actor(ann, ADDRESS))
    assert tickets.redeem(secret, address=ADDRESS).actor.is_admin
    with writing():
        User.update(is_admin=False).where(User.id == ann.id).execute()
    assert rights.scope(tickets.redeem(secret, address=ADDRESS).actor).projects == ()
    with writing():
        User.update(disabled=True).where(User.id == ann.id).execute()
    with pytest.raises(Missing):
        tickets.redeem(secret, address=ADDRESS)


def test_of_too_many_tickets_the_oldest_ends(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "MAX_OF_ACTOR", 3)
    actor = holder(device)
    issued = [tickets.issue("file", {"file": number}, actor=actor) for number in range(5)]
    assert Ticket.select().count() == 3
    with pytest.raises(Missing):
        tickets.redeem(issued[1], address=ADDRESS)
    assert tickets.redeem(issued[2], address=ADDRESS).target == {"file": 2}


def test_a_ticket_for_too_much_is_refused(device: Device) -> None:
    actor = holder(device)
    tickets.issue("containers", {"filters": ["é" * 1000] * 30}, actor=actor)
    with pytest.raises(BadValue, match="64 KiB"):
        tickets.issue("containers", {"filters": ["é" * 1000] * 33}, actor=actor)
    assert Ticket.select().count() == 1
