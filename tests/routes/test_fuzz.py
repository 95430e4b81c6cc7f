"""Every address with what nobody sends on purpose, by strangers, by an admin and with a device's key: no 500."""

import json
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app
from wtforms import Field

from portal.access.actors import operator
from portal.devices import api_keys, devices
from portal.tree import rest_ids
from portal.users import users
from portal.web.forms import Form
from tests.fixtures.browser import EMAIL, PASSWORD
from tests.fixtures.pages import Served, live_in, serve
from tests.fixtures.web import token_in

TEXTS = (
    *("", " ", "\0", "0", "-1", "1", "2", "1e400", "NaN", "Infinity", "9" * 400, str(2**63), str(-(2**63) - 1)),
    *("²", "٣", "on", "null", "[", "{}", "http://[", "http://[/", "//[", "https://[::1", "/\\[", "javascript:x"),
    *("\r\nX-Header: y", "\n2026-01-01 ERROR forged", "\u202e", "\ufffe", "😀" * 100, "é" * 300, "a" * 70_000),
    *("2027-02-30", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00+23:59", "24:00", "* * * * *", "*/0 * * * *"),
    *(
        "../../etc/passwd",
        "%00",
        "%",
        "{patient id}",
        "{",
        "{0.__class__}",
        "(",
        "a/b/c",
        "*",
        "'; DROP TABLE file; --",
    ),
    *("10.0.0.0/99", "::/0", "1.2.3.4.5", "[::1]:99999", "admin@site.example", "neuro/Brain", "fs", "s3", "csv"),
)
NAMES = (
    *(
        "q",
        "only",
        "sort",
        "page",
        "format",
        "next",
        "limit",
        "skip",
        "after_id",
        "filter",
        "version",
        "member",
        "info",
    ),
    *("provider", "like", "job", "project", "to", "of", "prefix", "mark", "frame", "act", "choice", "on", "email"),
)
HEADERS = (
    *(
        "HX-Request",
        "HX-Request-Type",
        "HX-Current-URL",
        "HX-Target",
        "HX-History-Restore-Request",
        "Referer",
        "Origin",
    ),
    *("Range", "If-Range", "If-None-Match", "If-Modified-Since", "Accept", "Accept-Language", "User-Agent", "Expect"),
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "x-accept-feature", "Content-Encoding"),
)
KINDS = (
    *(
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "x",
        "",
    ),
    *("multipart/form-data", "application/json; charset=utf-99", "application/x-www-form-urlencoded; charset=\xff"),
)
DOCUMENTS = (
    *("[]", "7", "null", '"x"', "[[1]]", "{", "NaN", "[" * 10_000, '{"a":' * 500 + "1" + "}" * 500),
    *('[["email", 7]]', '[["email", "a"], ["password", 7]]', '{"email": ["a"], "password": 7}'),
)


def field_names() -> list[str]:
    """Of all forms that there are."""
    forms: list[Any] = [Form]
    for form in forms:
        forms += form.__subclasses__()
    made = [Field.__module__, "UnboundField"]
    return sorted({name for form in forms for name in dir(form) if type(getattr(form, name)).__name__ in made})


@dataclass
class Caller:
    """Sends what a seed makes of an address."""

    app: Flask
    names: dict[str, object]
    fields: list[str]
    cookie: str = ""
    token: str = ""
    key: str = ""

    def send(self, rule: Rule, method: str, chance: random.Random) -> TestResponse:
        builder = EnvironBuilder(
            path=self.path(rule, chance),
            method=method,
            query_string={name: self.text(chance) for name in chance.sample(NAMES, 12)},
            headers=self.headers(chance),
            base_url=chance.choice(("http://localhost", "https://localhost")),
            environ_base={"REMOTE_ADDR": f"10.0.{chance.randrange(250)}.{chance.randrange(250)}"},
        )
        if method not in ("GET", "HEAD", "OPTIONS"):
            self.fill(builder, rule, chance)
        return self.answer(builder)

    def status(self, path: str) -> int:
        known = {"Cookie": self.cookie} if self.cookie else {"Authorization": f"Bearer {self.key}"}
        return self.answer(EnvironBuilder(path=path, headers=known)).status_code

    def answer(self, builder: EnvironBuilder) -> TestResponse:
        """As a WSGI server would, without a client between that knows better."""
        request = builder.get_request()
        return TestResponse(*run_wsgi_app(self.app, request.environ, buffered=True), request=request)

    def path(self, rule: Rule, chance: random.Random) -> str:
        values: dict[str, Any] = {}
        for name in rule._converters:
            converter = type(rule._converters[name]).__name__
            if converter == "AnyConverter":
                values[name] = chance.choice(sorted(rule._converters[name].items))
            elif converter == "RowNumber":
                known = [value for value in self.names.values() if isinstance(value, int)]
                values[name] = chance.choice([*known, 1, 2, 3, 10**17])
            else:
                values[name] = chance.choice([*TEXTS[1:], *self.ids(), self.names["key"]])[:2000] or "x"
        adapter = self.app.url_map.bind("localhost")
        return adapter.build(rule.endpoint, values | (rule.defaults or {}), method=next(iter(rule.methods or ())))

    def ids(self) -> list[str]:
        tables = ("project", "subject", "session", "acquisition", "device")
        return [rest_ids.encode(table, row) for table in tables for row in (1, 2, 2**63 - 1)]

    def headers(self, chance: random.Random) -> dict[str, str]:
        chosen = {name: self.text(chance) for name in chance.sample(HEADERS, 8)}
        plain = {
            name: value.encode("latin-1", "ignore").decode("latin-1").replace("\r", "").replace("\n", "")[:5000]
            for name, value in chosen.items()
        }
        plain["X-CSRFToken"] = self.token or "x"
        plain["Cookie"] = self.cookie or f"portico={chance.choice(('', '.', 'a.b.c', 'x' * 5000, '%00'))}"
        if self.key:
            plain["Authorization"] = f"Bearer {self.key}"
        return plain

    def fill(self, builder: EnvironBuilder, rule: Rule, chance: random.Random) -> None:
        if chance.random() < 0.6 and not rule.rule.startswith("/api/"):
            for name in chance.sample(self.fields, min(60, len(self.fields))):
                builder.form.setlist(name, [self.text(chance)[:9000] for _ in range(chance.choice((1, 1, 2)))])
            return
        builder.content_type = chance.choice(KINDS)
        body = chance.choice([*DOCUMENTS, self.document(chance), self.document(chance), "--x\r\n", "\xff\0"])
        builder.input_stream = None
        builder.data = body.encode("utf-8", "surrogatepass")

    def document(self, chance: random.Random) -> str:
        """An object with the fields that the interface knows, each of some kind."""
        known = ("label", "type", "project", "group", "_id", "subject", "session", "uid", "timestamp", "expires_at")
        more = ("version", "interval", "errors", "info", "disabled", "ae_title")
        odd: list[Any] = [
            *TEXTS,
            int("9" * 400),
            -1,
            0,
            1,
            1.5,
            1e308,
            True,
            None,
            [],
            [7],
            ["x"],
            {},
            {"a": {"b": "c"}},
        ]
        odd += [{"\0": 1}, {"a": int("9" * 400)}, ["\ud800"], [[[[]]]], *self.ids()]
        chosen = chance.sample(known + more, chance.choice((1, 2, 3, 4)))
        return json.dumps({name: chance.choice(odd) for name in chosen})

    def text(self, chance: random.Random) -> str:
        return chance.choice(TEXTS)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("fuzz") / "data") as found:
        live_in(found)
        yield found


def restore_admin() -> None:
    """Enable the first user, and make it a site admin, as it was."""
    users.enable(1, actor=operator())
    users.set_admin(1, True, actor=operator())


def signed_in(served: Served, fields: list[str]) -> Caller:
    """A site admin, whatever the requests before have made of the account."""
    restore_admin()
    _account, password = users.reset_password(1, PASSWORD, actor=operator())
    client = served.app.test_client()
    form = {"email": EMAIL, "password": password, "csrf_token": token_in(client.get("/sign-in").text)}
    answer = client.post("/sign-in", data=form, environ_base={"REMOTE_ADDR": "192.0.2.9"})
    assert answer.status_code == 303, answer.text
    token = token_in(client.get("/password").text)
    cookie = client.get_cookie("portico")
    assert cookie is not None
    return Caller(served.app, served.names, fields, cookie=f"portico={cookie.value}", token=token)


def machine(served: Served, fields: list[str]) -> Caller:
    """A device with a key, as new: the one before may be disabled by now, and other users may be site admins."""
    restore_admin()
    device = devices.add(f"fuzzer {secrets.token_hex(4)}", owner=EMAIL, actor=operator())
    return Caller(served.app, served.names, fields, key=api_keys.issue(device, name="fuzz", actor=operator()).secret)


def fuzz(served: Served, rounds: int, seed: str) -> tuple[int, list[str]]:
    """How many requests were answered, and those that were answered with 500 or above."""
    fields = field_names()
    callers = {"admin": signed_in(served, fields), "device": machine(served, fields)}
    callers["stranger"] = Caller(served.app, served.names, fields)
    sent, broken = 0, []
    for rule in served.app.url_map.iter_rules():
        is_rest = rule.rule.startswith("/api/")
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            for number in range(rounds):
                for who in ("stranger", "device", "admin") if is_rest else ("stranger", "admin"):
                    chance = random.Random(f"{seed} {rule.rule} {method} {number}")  # the same each time
                    answer = callers[who].send(rule, method, chance)
                    sent += 1
                    if answer.status_code >= 500:
                        broken.append(f"{answer.status_code} {method} {answer.request.path!r} {who} {seed} {number}")
        if is_rest and callers["device"].status("/api/version") != 200:
            callers["device"] = machine(served, fields)
        elif not is_rest and callers["admin"].status("/password") != 200:
            callers["admin"] = signed_in(served, fields)
    return sent, broken


def test_no_route_answers_500_whatever_is_sent(served: Served) -> None:
    sent, broken = fuzz(served, rounds=2, seed="a")
    assert broken == []
    assert sent > 700


@pytest.mark.prove
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("quarter", range(4))
def test_no_route_answers_500_in_many_rounds(served: Served, quarter: int) -> None:
    for seed in range(5 * quarter, 5 * quarter + 5):
        _sent, broken = fuzz(served, rounds=5, seed=str(seed))
        assert broken == []
