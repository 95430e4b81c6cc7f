"""Signing in and out: who gets in, who does not, and what is left of a session."""

import time
from dataclasses import replace

import pytest
from flask import Flask

from portal import runtime
from portal.access.actors import Actor, operator
from portal.errors import NotSignedIn
from portal.models import Audit, User
from portal.settings import Settings
from portal.users import users
from tests.fixtures.web import PASSWORD, Visitor, account, token_in, visitor_of


def test_the_right_password_opens_the_first_page(stranger: Visitor) -> None:
    answer = stranger.sign_in()

    assert answer.status_code == 303
    assert answer.headers["Location"] == "/"
    assert stranger.get("/").status_code == 200


def test_a_wrong_password_is_refused_in_words_and_the_address_stays(stranger: Visitor) -> None:
    answer = stranger.sign_in("wrong password")

    assert answer.status_code == 401
    assert users.SIGN_IN_REFUSED in answer.text
    assert stranger.email in answer.text
    assert "wrong password" not in answer.text


def test_an_unknown_address_is_refused_with_the_same_sentence(stranger: Visitor) -> None:
    answer = stranger.post("/sign-in", {"email": "nobody@site.example", "password": PASSWORD})

    assert answer.status_code == 401
    assert users.SIGN_IN_REFUSED in answer.text


def test_an_unknown_address_takes_as_long_as_a_wrong_password(site: Settings) -> None:
    runtime.start(replace(site, cheap_passwords=False))
    users.add("known@site.example", PASSWORD, actor=operator())
    _work_of("known@site.example")

    known, unknown = (min(_work_of(email) for _ in range(4)) for email in ("known@site.example", "x@site.example"))

    assert 0.6 < unknown / known < 1.6


def _work_of(email: str) -> float:
    """Processor seconds of one refused sign-in: other load on the machine does not count."""
    began = time.process_time()
    with pytest.raises(NotSignedIn):
        users.sign_in(email, "wrong password", address="")
    return time.process_time() - began


def test_a_disabled_user_is_refused_and_their_session_ends(visitor: Visitor, admin: Actor) -> None:
    users.add("other@site.example", PASSWORD, True, actor=operator())

    users.disable(account(visitor).id, actor=operator())

    assert visitor.get("/").headers["Location"] == "/sign-in"
    assert visitor.sign_in().status_code == 401


@pytest.mark.parametrize("path", ["/", "/data/", "/jobs/", "/interfaces/devices/", "/settings/", "/password"])
def test_every_page_asks_a_stranger_to_sign_in_first(stranger: Visitor, path: str) -> None:
    answer = stranger.get(path)

    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/sign-in")


def test_after_signing_in_one_is_where_one_wanted_to_go(stranger: Visitor) -> None:
    wanted = stranger.get("/jobs/?only=failed").headers["Location"]
    page = stranger.get(wanted)

    answer = stranger.sign_in(next="/jobs/?only=failed")

    assert 'value="/jobs/?only=failed"' in page.text
    assert answer.headers["Location"] == "/jobs/?only=failed"


@pytest.mark.parametrize(
    "elsewhere",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "\\evil", "javascript:alert(1)", "/a\nb"],
)
def test_nobody_is_sent_to_another_site_by_signing_in(stranger: Visitor, elsewhere: str) -> None:
    assert stranger.sign_in(next=elsewhere).headers["Location"] == "/"


def test_an_ended_session_under_htmx_leads_the_whole_page_to_the_sign_in(stranger: Visitor) -> None:
    answer = stranger.get(
        "/jobs/",
        headers={"HX-Request": "true", "HX-Current-URL": "http://localhost/jobs/", "HX-Request-Type": "partial"},
    )

    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/sign-in?next=/jobs/"


def test_signing_in_begins_a_new_session_with_a_new_token(stranger: Visitor) -> None:
    before = stranger.token()
    stale = stranger.client.get_cookie("portico")

    stranger.sign_in()
    fresh = stranger.client.get_cookie("portico")

    assert stale is not None
    assert fresh is not None
    assert stale.value != fresh.value
    assert stranger.post("/settings/site", {"csrf_token": before}).status_code == 400


def test_a_cookie_that_was_copied_is_worth_nothing_after_signing_out(visitor: Visitor, app: Flask) -> None:
    cookie = visitor.client.get_cookie("portico")
    assert cookie is not None

    assert visitor.post("/sign-out").status_code == 303

    thief = app.test_client()
    thief.set_cookie("portico", cookie.value)
    assert thief.get("/").status_code == 303


def test_the_session_cookie_is_for_this_site_and_no_script(stranger: Visitor) -> None:
    cookie = stranger.sign_in().headers["Set-Cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_a_page_that_polls_does_not_renew_its_session(visitor: Visitor) -> None:
    visitor.get("/")

    assert "Set-Cookie" not in visitor.get("/jobs/").headers


def guess(visitor: Visitor, times: int, *addresses: str) -> list[int]:
    """The codes of wrong passwords that a new browser sends, from these addresses in turn."""
    guesser = Visitor(client=visitor.client.application.test_client(), email=visitor.email, address=addresses[0])
    codes = []
    for place in range(times):
        guesser.address = addresses[place % len(addresses)]
        codes.append(guesser.sign_in("wrong password").status_code)
    return codes


def test_after_ten_wrong_passwords_an_account_waits_at_that_address_and_so_does_the_right_password(
    stranger: Visitor,
) -> None:
    assert guess(stranger, 11, stranger.address) == [*[401] * 10, 429]

    answer = stranger.sign_in()

    assert answer.status_code == 429
    assert "Too many attempts" in answer.text


def test_who_guesses_elsewhere_locks_the_owner_out_nowhere(stranger: Visitor) -> None:
    assert guess(stranger, 11, "192.0.2.1")[-1] == 429

    assert stranger.sign_in().status_code == 303


def test_guesses_from_many_addresses_stop_at_a_hundred_and_a_browser_that_has_signed_in_before_still_gets_in(
    visitor: Visitor, app: Flask
) -> None:
    visitor.post("/sign-out")
    many = [f"192.0.2.{place}" for place in range(50)]
    assert guess(visitor, 101, *many) == [*[401] * 100, 429]
    new = Visitor(client=app.test_client(), email=visitor.email, address="198.51.100.1")
    assert new.sign_in().status_code == 429

    assert visitor.sign_in().status_code == 303


def test_a_browser_that_has_signed_in_before_may_guess_no_more_than_others(visitor: Visitor) -> None:
    visitor.post("/sign-out")
    for _ in range(10):
        assert visitor.sign_in("wrong password").status_code == 401
    assert visitor.sign_in().status_code == 429


def test_a_browser_is_known_for_each_account_that_has_signed_in_with_it_and_for_no_other(
    visitor: Visitor, app: Flask
) -> None:
    visitor.post("/sign-out")
    owner, other = visitor.email, visitor_of(app, is_admin=False)
    guess(other, 10, visitor.address)
    visitor.email = other.email
    assert visitor.sign_in().status_code == 429

    visitor.address = "198.51.100.1"
    assert visitor.sign_in().status_code == 303

    for email in (owner, other.email):
        visitor.post("/sign-out")
        visitor.email = email
        guess(visitor, 10, visitor.address)
        assert visitor.sign_in().status_code == 303


def test_a_browser_that_only_says_it_is_known_is_not(visitor: Visitor, app: Flask) -> None:
    cookie = visitor.client.get_cookie("portico_known", path="/sign-in")
    assert cookie is not None
    assert cookie.http_only
    guess(visitor, 10, "198.51.100.1")
    for forged in ("", "x", cookie.value[:-2] + "AA", "e30." + cookie.value.split(".", 1)[1]):
        forger = Visitor(client=app.test_client(), email=visitor.email, address="198.51.100.1")
        forger.client.set_cookie("portico_known", forged, path="/sign-in")
        assert forger.sign_in().status_code == 429


def test_after_thirty_wrong_passwords_an_address_waits(app: Flask) -> None:
    guesser = visitor_of(app, is_admin=True)
    for place in range(30):
        answer = guesser.post("/sign-in", {"email": f"{place}-{guesser.email}", "password": "wrong password"})
        assert answer.status_code == 401

    assert guesser.sign_in().status_code == 429


def test_signing_in_well_is_not_counted(stranger: Visitor) -> None:
    for _ in range(12):
        assert stranger.sign_in().status_code == 303
        stranger.post("/sign-out")


def test_sign_in_and_its_refusal_are_audited_without_what_was_typed(stranger: Visitor) -> None:
    stranger.sign_in("my secret")
    stranger.post("/sign-in", {"email": "my secret", "password": "x"})
    stranger.sign_in()

    acts = [(row.action, row.address) for row in Audit.select().where(Audit.action != "user:added").order_by(Audit.id)]
    assert acts == [("user:sign_in_refused", stranger.address), ("user:signed_in", stranger.address)]
    assert not any("my secret" in f"{row.target_id}{row.detail}" for row in Audit.select())


def test_a_new_password_works_the_old_one_does_not_and_other_sessions_end(visitor: Visitor, app: Flask) -> None:
    elsewhere = Visitor(client=app.test_client(), email=visitor.email, address=visitor.address)
    elsewhere.sign_in()

    answer = visitor.post("/password", {"old": PASSWORD, "new": "another sentence", "again": "another sentence"})

    assert answer.status_code == 303
    assert visitor.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 303
    assert elsewhere.sign_in().status_code == 401
    assert elsewhere.sign_in("another sentence").status_code == 303


@pytest.mark.parametrize(
    ("old", "new", "again", "message"),
    [
        ("wrong", "another sentence", "another sentence", "Wrong current password."),
        (PASSWORD, "short", "short", "A password has at least 8 characters."),
        (PASSWORD, "x" * 201, "x" * 201, "A password has at most 200 characters."),
        (PASSWORD, "another sentence", "another", "Enter the new password twice."),
        (PASSWORD, PASSWORD, PASSWORD, "The new password is the same as the current one."),
        ("", "", "", "Wrong current password."),
    ],
)
def test_a_bad_new_password_is_refused_beside_its_field(
    visitor: Visitor, old: str, new: str, again: str, message: str
) -> None:
    answer = visitor.post("/password", {"old": old, "new": new, "again": again})

    assert answer.status_code == 422
    assert message in answer.text
    assert visitor.sign_in().status_code == 303 or visitor.is_signed_in()


def test_a_form_without_its_token_changes_nothing(visitor: Visitor) -> None:
    answer = visitor.client.post("/users/new", data={"email": "x@y.example"})

    assert answer.status_code == 400
    assert "expired" in answer.text
    assert not User.select().where(User.email == "x@y.example").exists()


def test_htmx_sends_the_token_as_a_header(visitor: Visitor) -> None:
    token = token_in(visitor.get("/password").text)

    answer = visitor.client.post("/users/new", data={"email": "x@y.example"}, headers={"X-CSRFToken": token})

    assert answer.status_code == 201


@pytest.mark.parametrize("body", ["[]", "7", '[["email", "a@b.example"], ["password", 7]]', '{"password": 7}', "{"])
def test_a_page_takes_a_form_and_no_json(stranger: Visitor, body: str) -> None:
    token = stranger.token()
    for path in ("/sign-in", "/password", "/users/new"):
        answer = stranger.client.post(path, data=body, content_type="application/json", headers={"X-CSRFToken": token})
        assert answer.status_code == 415
        assert "Pages accept only forms" in answer.text


@pytest.mark.parametrize("odd", ["http://[", "//[", "https://[::1", "[/"])
def test_an_address_that_is_none_sends_nobody_anywhere(stranger: Visitor, odd: str) -> None:
    assert stranger.sign_in(next=odd).headers["Location"] == "/"


def test_what_htmx_says_of_its_page_may_be_no_address(stranger: Visitor) -> None:
    answer = stranger.get("/jobs/", headers={"HX-Request": "true", "HX-Current-URL": "http://["})
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/sign-in"


def test_a_referrer_that_is_no_address_is_refused_before_it_is_compared(stranger: Visitor) -> None:
    sent = {"csrf_token": stranger.token(), "email": stranger.email, "password": PASSWORD}
    answer = stranger.client.post("/sign-in", data=sent, base_url="https://localhost", headers={"Referer": "https://["})
    assert answer.status_code == 400
