"""The REST interface: who gets in, and how it says no."""

import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import requests

from portal import runtime
from portal.access.actors import operator
from portal.devices import api_keys, devices, key_format
from portal.models import ApiKey, Device, Group, now
from portal.routes.api import rate_limits, request_values
from portal.settings import Settings
from portal.users import users
from tests.fixtures.api import Api, assert_refused
from tests.fixtures.web import statements


@pytest.mark.parametrize("scheme", ["Bearer", "scitran-user", "bearer"])
def test_a_device_gets_in_with_its_key(api: Api, device: Device, scheme: str) -> None:
    answer = requests.get(f"{api.url}/api/auth/status", headers={"Authorization": f"{scheme} {api.key}"}, timeout=9)
    assert answer.json() == {
        "origin": {"type": "device", "id": f"0007{device.id:020x}"},
        "user_id": None,
        "user_is_admin": True,
        "is_device": True,
        "roles": ["public", "drone"],
    }


def test_a_client_learns_the_release_and_what_the_site_can_do(api: Api) -> None:
    assert api.get("/api/version").json()["flywheel_release"] == "23.0.0"
    config = api.get("/api/config").json()
    assert config["features"] == {"signed_url": False, "dimse": False, "project_export": True}
    assert config["site"]["api_url"] == f"{api.url}/api"


@pytest.mark.parametrize("path", ["/api/auth/status", "/api/devices", "/api/groups", "/api/nonsense"])
def test_without_a_key_nobody_gets_in(url: str, path: str) -> None:
    assert_refused(requests.get(f"{url}{path}", timeout=9), 401, "Send an API key")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer é", f"Bearer {'a' * 57}", f"Bearer {'a' * 56}", "x" * 9000],
)
def test_what_is_no_key_is_refused(url: str, header: str) -> None:
    answer = requests.get(f"{url}/api/auth/status", headers={"Authorization": header.encode()}, timeout=9)
    assert_refused(answer, 401)


def test_a_revoked_an_expired_and_a_disabled_key_are_refused_with_the_reason(api: Api, device: Device) -> None:
    devices.disable(device.id, actor=operator())
    assert_refused(api.get("/api/auth/status"), 401, "disabled")
    devices.enable(device.id, actor=operator())
    ApiKey.update(expires=now() - timedelta(days=1)).execute()
    assert_refused(api.get("/api/auth/status"), 401, "expired")
    api_keys.revoke(device, api.key[:10], actor=operator())
    assert_refused(api.get("/api/auth/status"), 401, "revoked")


def test_an_address_that_shows_many_wrong_keys_is_told_to_wait_and_a_good_key_still_works(api: Api) -> None:
    wrong = replace(api, key=api.key[:-1] + "~")
    codes = [wrong.get("/api/version").status_code for _ in range(70)]
    assert codes[:60] == [401] * 60
    assert codes[-1] == 429
    last = wrong.get("/api/version")
    assert_refused(last, 429, "Too many invalid API keys")
    assert 1 <= int(last.headers["Retry-After"]) <= 61
    assert api.get("/api/version").status_code == 200


def test_an_address_with_too_many_wrong_keys_costs_no_statement_and_the_right_ones_work(
    api: Api, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "KEYS_REMEMBERED", 3600)
    for _ in range(62):
        guess = replace(api, key=key_format.generate()[1]).get("/api/auth/status")
    with statements() as sent:
        for key in (key_format.generate()[1], api.key[:-1] + "~", "x"):
            for path in ("/api/auth/status", "/api/version", "/api/nowhere"):
                refused = replace(api, key=key).get(path)
                assert_refused(refused, 429, "Too many invalid API keys")
                assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert (guess.status_code, sent) == (429, [])
    assert api.get("/api/auth/status").status_code == 200
    other_secret = api.key[:20] + key_format.generate()[1][20:]
    assert replace(api, key=other_secret).get("/api/auth/status").status_code == 429
    assert requests.get(f"{api.url}/api/version", timeout=9).status_code == 200
    monkeypatch.setattr(rate_limits, "KEYS_REMEMBERED", 0)
    fresh = api_keys.issue(device, name="fresh", actor=operator()).secret
    assert replace(api, key=fresh).get("/api/auth/status").status_code == 200


@pytest.mark.parametrize("of", ["requests_per_key", "requests_per_address"])
def test_a_key_and_an_address_have_a_budget_a_minute(
    api: Api, device: Device, site_settings: Settings, of: str
) -> None:
    runtime.archive().close()
    runtime.start(replace(site_settings, **{of: 5}))
    one, two = (replace(api, key=api_keys.issue(device, name=name, actor=operator()).secret) for name in "ab")
    answers = [one.get("/api/version") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert_refused(answers[-1], 429, "has sent too many requests")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 61
    upload = one.upload("0005" + "0" * 19 + "1", "a.bin", b"x" * 3_000_000)
    assert upload.status_code == 429
    # Another key has a budget of its own; another address would have one too.
    assert two.get("/api/version").status_code == (200 if of == "requests_per_key" else 429)


def test_a_narrowed_key_reads_and_does_not_write(api: Api, device: Device) -> None:
    issued = api_keys.issue(device, name="reader", read_only=True, actor=operator())
    reader = replace(api, key=issued.secret)
    acquisition = api.acquisition()
    assert reader.get(f"/api/acquisitions/{acquisition}").status_code == 200
    assert_refused(reader.post("/api/groups", json={"_id": "g2"}), 403, "read-only")
    assert_refused(reader.upload(acquisition, "a.txt", b"x"), 403)
    assert_refused(reader.post("/api/devices", json={"label": "x"}), 403, "read-only")
    assert reader.put("/api/devices/self", json={}).status_code == 200
    narrow = api_keys.issue(device, name="ward", addresses=["10.0.0.0/24"], actor=operator())
    assert_refused(replace(api, key=narrow.secret).get("/api/version"), 401, "may not be used from 127.0.0.1")


def test_a_signed_in_user_may_read_and_needs_a_key_to_write(url: str) -> None:
    users.add("admin@site.example", "correct horse battery", is_admin=True, actor=operator())
    with requests.Session() as browser:
        page = browser.get(f"{url}/sign-in", timeout=9).text
        token = page.split('name="csrf_token"')[1].split('value="')[1].split('"')[0]
        form = {"email": "admin@site.example", "password": "correct horse battery", "csrf_token": token}
        browser.post(f"{url}/sign-in", data=form, timeout=9)
        status = browser.get(f"{url}/api/auth/status", timeout=9).json()
        assert (status["user_id"], status["is_device"], status["roles"]) == (
            "admin@site.example",
            False,
            ["public", "user", "site_admin"],
        )
        assert_refused(browser.get(f"{url}/api/devices/self", timeout=9), 403, "Only devices")
        assert_refused(browser.post(f"{url}/api/groups", json={"_id": "forged"}, timeout=9), 401)
    assert Group.select().count() == 0


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/nothing", "/api/groups/", "/api/groups/x/y/z", "/api/%00", "/api/%0a", "/api/é"]
)
def test_an_address_that_there_is_not_answers_in_json(api: Api, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "BREW"):
        assert_refused(api(method, path), 404)


def test_a_method_that_an_address_does_not_take_is_named(api: Api) -> None:
    answer = api.delete("/api/groups")
    assert_refused(answer, 405, "Method not allowed")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert_refused(api.put("/api/auth/status", json={}), 405)
    assert_refused(api("BREW", "/api/version"), 405)
    assert_refused(requests.put(f"{api.url}/api/groups", timeout=9), 401)
    assert_refused(requests.request("TRACE", f"{api.url}/api/version", timeout=9), 405)
    answer = api.put("/api/devices/status", json={})
    assert_refused(answer, 405)
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not valid JSON"),
        (b"\xff\xfe\x00", 400, "not valid JSON"),
        (b"NaN", 400, "not valid JSON"),
        (b'{"label": Infinity}', 400, "not valid JSON"),
        (b"[" * 100_000, 400, "not valid JSON"),
        (b'{"label": ' + b"9" * 5000 + b"}", 400, "not valid JSON"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, 422, "nested more than 20"),
        (b"[]", 422, "must be a JSON object"),
        (b'"label"', 422, "must be a JSON object"),
        (b"null", 422, "must be a JSON object"),
        (b"", 422, "lacks the field label"),
        (b"{}", 422, "lacks the field label"),
        (b'{"label": null}', 422, "lacks the field label"),
        (b'{"label": 7}', 422, "must be a string"),
        (b'{"label": ["x"]}', 422, "must be a string"),
        (b'{"label": 99999999999999999999}', 422, "number that is too large"),
        (b'{"label": ' + b"9" * 400 + b"}", 422, "number that is too large"),
        (b'{"label": [{"a": -' + b"9" * 400 + b"}]}", 422, "number that is too large"),
        (b'{"label": 1e400}', 422, "number that is too large"),
        (b'{"label": "a\\u0000b"}', 422, "NUL"),
        (b'{"label": "\\ud800"}', 422, "an unpaired surrogate"),
        (b'{"label": "x", "colour": "red"}', 422, "unknown field 'colour'. Known fields: label, type"),
        (b'{"label": "' + b"x" * 500_000 + b'"}', 422, "more than 64"),
        (b'{"label": "' + b"x" * 2_000_000 + b'"}', 413, "too large"),
        (b"label=x", 400, "not valid JSON"),
    ],
)
def test_a_body_of_nonsense_is_refused_in_one_sentence_and_changes_nothing(
    api: Api, body: bytes, status: int, words: str
) -> None:
    before = Device.select().count()
    assert_refused(api.post("/api/devices", data=body), status, words)
    assert Device.select().count() == before


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=x",
        "limit=1001",
        f"limit={'9' * 400}",
        "limit=١",
        "skip=-1",
        "skip=99999999999",
        "page=0",
        "page=1&skip=3",
        "after_id=zzz",
        f"after_id={'0' * 24}",
        "sort=password",
        "sort=label:up",
        "filter=a",
        "label=x",
        "limit=1&limit=2",
        "sort=label&after_id=000200000000000000000001",
    ],
)
def test_a_page_that_cannot_be_is_refused(api: Api, query: str) -> None:
    api.acquisition()
    answer = api.get(f"/api/projects?{query}")
    assert answer.status_code in (404, 422), answer.text
    assert_refused(answer, answer.status_code)


@pytest.mark.parametrize("path", ["/api/version", "/api/devices", "/api/devices/self", "/api/auth/status"])
def test_a_parameter_that_an_address_does_not_read_is_refused(api: Api, path: str) -> None:
    assert_refused(api.get(f"{path}?colour=red"), 422, "Unknown parameter 'colour'")


def test_the_release_the_features_and_the_document_need_no_key(url: str) -> None:
    for path in ("/api/version", "/api/config", "/api/openapi.json"):
        assert requests.get(f"{url}{path}", timeout=9).status_code == 200
        assert_refused(requests.get(f"{url}{path}", headers={"Authorization": "Bearer x"}, timeout=9), 401)


def test_what_clients_send_to_say_how_much_they_want_is_ignored(api: Api) -> None:
    for name in request_values.IGNORED:
        assert api.get(f"/api/projects?{name}=true").json() == []


def test_an_empty_filter_is_none(api: Api) -> None:
    assert api.get("/api/projects?filter=").json() == []
    assert api.get("/api/devices?filter=").status_code == 200


def test_half_a_request_keeps_nobody_else_waiting(api: Api) -> None:
    address = urlsplit(api.url)
    with socket.create_connection((address.hostname, address.port)) as half:
        half.sendall(b"POST /api/devices HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert api.get("/api/version").status_code == 200


def test_no_page_is_offered_to_a_device(api: Api, serve: Callable[..., str]) -> None:
    answer = api.get("/api/devices")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
