import base64
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.errors import BadValue, Damaged, NoSpace, NotAllowed, PortalError, Taken, Unreachable
from portal.storage_drivers import http, tokens
from portal.storage_drivers.destination import Destination
from portal.storage_drivers.gcs import config as gcs_config
from portal.storage_drivers.gcs.driver import GCSStore
from portal.storage_drivers.gcs.resumable_upload import ResumableUpload
from portal.storage_drivers.store import ContainerMissing, CredentialsRefused, Interrupted, Upload
from portal.storage_drivers.tokens import TokenCache
from tests.fixtures.cloud_stores import GoogleAccount, answering
from tests.fixtures.stores import Answer, Front, Place, Request, Running

LARGE = 9 << 20

pytestmark = pytest.mark.xdist_group("stores")


def put(destination: Destination, key: str, content: bytes, *, overwrite: bool = False) -> None:
    digest = hashlib.sha256(content).hexdigest()
    destination.put(key, [content], size=len(content), digest=digest, overwrite=overwrite)


@pytest.fixture(scope="module")
def account() -> GoogleAccount:
    return GoogleAccount()


@pytest.fixture(scope="module")
def key(account: GoogleAccount) -> dict[str, Any]:
    """The fields of the JSON key."""
    fields: dict[str, Any] = json.loads(account.json("https://oauth2.googleapis.com/token"))
    return fields


@pytest.fixture
def emulator(stores: Running) -> Place:
    return stores["gcs-emulator"]


@pytest.fixture
def signs_in(account: GoogleAccount) -> Iterator[str]:
    account.given, account.refusal = 0, None
    with answering(account.answer) as front:
        yield f"{front.url}/token"


@pytest.fixture
def scripted(account: GoogleAccount, signs_in: str) -> Callable[[Front], Destination]:
    """Opens a bucket of a server that only answers as it is told."""

    def opened(front: Front) -> Destination:
        config = gcs_config.clean({"bucket": "research-2027", "endpoint": front.url})
        place = Place("scripted", "gcs", {**config, "create_only": True}, {"service_account": account.json(signs_in)})
        return place.open(options={"tries": 1})

    return opened


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bucket": "Research"}, "bucket"),
        ({"bucket": "a..b"}, "bucket"),
        ({"endpoint": "storage.example"}, "endpoint"),
        ({"ca": "no certificate"}, "ca"),
        ({"ca": "kein Zertifikat für uns"}, "ca"),
        ({"access_key": "two words"}, "access_key"),
    ],
)
def test_a_form_that_does_not_fit_is_refused_with_its_field(change: dict[str, str], field: str) -> None:
    with pytest.raises(BadValue) as refused:
        gcs_config.clean({"bucket": "research-2027", **change})
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"client_email": None}, "lacks client_email"),
        ({"private_key": ""}, "lacks private_key"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nplanted\n"}, "private_key cannot be read"),
        ({"type": "authorized_user"}, "type 'authorized_user'"),
        ({"client_email": "nobody"}, "client_email is not the address"),
        ({"token_uri": "http://oauth2.example/token"}, "token_uri is not https"),
        ({"token_uri": "nowhere"}, "token_uri is not an address"),
    ],
)
def test_a_key_that_lacks_something_is_refused_with_its_name(
    change: dict[str, Any], said: str, key: dict[str, Any]
) -> None:
    fields = {name: value for name, value in {**key, **change}.items() if value is not None}
    with pytest.raises(BadValue, match=said) as refused:
        gcs_config.clean_secret({"bucket": "research-2027"}, {"service_account": json.dumps(fields)})
    assert refused.value.field == "service_account"
    assert "planted" not in refused.value.message


@pytest.mark.parametrize("text", ["", "no json", "[]", "{" * 5000, "x" * 200_000])
def test_what_is_no_key_at_all_is_refused(text: str) -> None:
    with pytest.raises(BadValue) as refused:
        gcs_config.clean_secret({"bucket": "research-2027"}, {"service_account": text})
    assert refused.value.field == "service_account"


def test_of_a_key_only_what_is_needed_is_kept(key: dict[str, Any]) -> None:
    given = {"service_account": json.dumps({**key, "client_x509_cert_url": "https://elsewhere.example"})}
    kept = gcs_config.clean_secret({"bucket": "research-2027"}, given)["service_account"]
    assert set(json.loads(kept)) == {"client_email", "private_key_id", "private_key", "token_uri"}


@pytest.mark.parametrize(
    ("config", "secret", "field"),
    [
        ({"access_key": "GOOG1"}, {}, "secret_key"),
        ({}, {"secret_key": "planted"}, "access_key"),
        ({"access_key": "GOOG1"}, {"secret_key": "planted", "service_account": "{}"}, "service_account"),
    ],
)
def test_an_hmac_key_has_both_its_halves_and_no_other_key(
    config: dict[str, str], secret: dict[str, str], field: str
) -> None:
    with pytest.raises(BadValue) as refused:
        gcs_config.clean_secret({"bucket": "research-2027", **config}, secret)
    assert refused.value.field == field


def test_an_hmac_key_speaks_s3_to_google() -> None:
    listed = b"<ListBucketResult><Contents><Key>object</Key><Size>3</Size></Contents></ListBucketResult>"
    with answering(lambda _request: Answer(200, listed)) as front:
        config = gcs_config.clean({"bucket": "research-2027", "endpoint": front.url, "access_key": "GOOG1EXAMPLE"})
        place = Place("hmac", "gcs", config, {"secret_key": "planted"})
        assert [found.key for found in place.open().list()] == ["object"]
        assert front.seen[0].path.startswith("/research-2027/?")
        assert "Credential=GOOG1EXAMPLE" in front.seen[0].headers["Authorization"]
        assert "/auto/s3/" in front.seen[0].headers["Authorization"]


def test_an_account_signs_in_once_for_all_threads_and_leaves_no_token_behind(
    emulator: Place, account: GoogleAccount, signs_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    destination = replace(emulator, secret={"service_account": account.json(signs_in)}).open("once")
    put(destination, "object", b"content")
    read: list[bytes] = []
    threads = [threading.Thread(target=lambda: read.extend(destination.read("object"))) for _reader in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [b"content"] * 4
    assert account.given == 1
    assert list(tmp_path.iterdir()) == []


def test_a_token_is_renewed_before_it_ends_and_when_a_store_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(tokens.time, "monotonic", lambda: clock[0])
    numbers = iter("1234")
    held = TokenCache(lambda: (next(numbers), 3600.0))
    assert (held.value(), held.value()) == ("1", "1")
    assert not held.discard("1"), "a fresh one that is refused would be refused again"
    clock[0] += 3301
    assert held.value() == "2"
    clock[0] += 61
    assert held.discard("2")
    assert held.value() == "3"
    assert held.discard("2"), "another thread has renewed it meanwhile"
    assert held.value() == "3"


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ("Invalid JWT Signature.", "may be deleted"),
        ("Invalid grant: account not found", "does not know the service account"),
        ("Invalid JWT: Token must be a short-lived token in a reasonable timeframe", "clock"),
        ("", "refuses the service account"),
    ],
)
def test_an_account_that_is_refused_is_told_why(
    refusal: str, said: str, emulator: Place, account: GoogleAccount, signs_in: str
) -> None:
    account.refusal = {"error": "invalid_grant", "error_description": refusal}
    destination = replace(emulator, secret={"service_account": account.json(signs_in)}).open()
    for attempt in (lambda: dict(destination.steps())["Signed in"](), lambda: put(destination, "object", b"")):
        with pytest.raises(CredentialsRefused, match=said):
            attempt()


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (Answer(500), Interrupted, "is temporarily unavailable"),
        (Answer(200, b"<html>"), Unreachable, "not like a token server"),
        (Answer(200, b'{"access_token": 7}'), Unreachable, "not like a token server"),
        (Answer(302, b"", {"Location": "http://169.254.169.254/"}), Unreachable, "not like a token server"),
    ],
)
def test_a_server_that_signs_nobody_in_is_named(
    answer: Answer, kind: type[PortalError], said: str, emulator: Place, account: GoogleAccount
) -> None:
    with answering(lambda _request: answer) as front:
        secret = {"service_account": account.json(f"{front.url}/token")}
        with pytest.raises(kind, match=said):
            list(emulator.open(secret=secret, options={"tries": 1}).list())


def test_a_missing_bucket_is_named(emulator: Place) -> None:
    assert emulator.open().stat("There is no bucket") is None
    destination = emulator.open(bucket="nowhere")
    for attempt in (lambda: list(destination.list()), lambda: put(destination, "object", b"x")):
        with pytest.raises(ContainerMissing, match="There is no bucket nowhere at"):
            attempt()


def refusal(status: int, reason: str, message: str = "") -> Callable[[Request], Answer]:
    error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
    return lambda _request: Answer(status, json.dumps({"error": error}).encode())


@pytest.mark.parametrize(
    ("status", "reason", "kind", "said"),
    [
        (401, "authError", CredentialsRefused, "refuses the service account"),
        (403, "forbidden", NotAllowed, r"may not write in the bucket research-2027.*storage\.objects\.create"),
        (403, "retentionPolicyNotMet", NotAllowed, "policy"),
        (403, "accountDisabled", NotAllowed, "billing"),
        (403, "quotaExceeded", NoSpace, "no quota left"),
        (403, "rateLimitExceeded", Interrupted, "is temporarily unavailable"),
        (404, "notFound", ContainerMissing, "no bucket research-2027"),
        (412, "conditionNotMet", Taken, "already exists"),
        (429, "rateLimitExceeded", Interrupted, "is temporarily unavailable"),
        (400, "invalidParameter", Unreachable, "invalidParameter"),
        (503, "backendError", Interrupted, "is temporarily unavailable"),
        (302, "", Unreachable, "not like Google"),
    ],
)
def test_each_refusal_to_write_is_said_in_words(
    status: int, reason: str, kind: type[PortalError], said: str, scripted: Callable[[Front], Destination]
) -> None:
    with answering(refusal(status, reason)) as front, pytest.raises(kind, match=said) as raised:
        put(scripted(front), "object", b"x" * (LARGE if status == 403 else 1))
    assert raised.value.message.endswith(".")


def test_a_denied_delete_names_the_right_that_is_lacking(scripted: Callable[[Front], Destination]) -> None:
    with (
        answering(refusal(403, "forbidden")) as front,
        pytest.raises(NotAllowed, match=r"may not delete.*storage\.objects\.delete"),
    ):
        scripted(front).delete("object")


def test_an_object_of_a_bucket_that_is_gone_is_no_missing_object(scripted: Callable[[Front], Destination]) -> None:
    with answering(refusal(404, "notFound", "The specified bucket does not exist.")) as front:
        for attempt in (lambda there: there.stat("object"), lambda there: list(there.read("object"))):
            with pytest.raises(ContainerMissing, match="no bucket research-2027"):
                attempt(scripted(front))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"items": [{"name": 1}]}'])
def test_a_list_that_is_none_is_refused(body: bytes, scripted: Callable[[Front], Destination]) -> None:
    with answering(lambda _request: Answer(200, body)) as front, pytest.raises(Unreachable, match="not like Google"):
        list(scripted(front).list())


def made(content: bytes, **changes: str) -> Answer:
    """What Google answers once an object is there."""
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    return Answer(200, json.dumps({"name": "object", "size": str(len(content)), "md5Hash": md5, **changes}).encode())


def test_a_large_object_goes_to_our_server_alone_with_its_md5_last(scripted: Callable[[Front], Destination]) -> None:
    content = os.urandom(LARGE)

    def google(request: Request) -> Answer:
        if request.method == "POST":
            where = "https://elsewhere.example/upload/storage/v1/b/research-2027/o?ifGenerationMatch=0&upload_id=7"
            return Answer(200, b"{}", {"Location": where})
        is_last = request.headers["Content-Range"].endswith(f"-{LARGE - 1}/{LARGE}")
        return made(content) if is_last else Answer(308, b"", {"Range": f"bytes=0-{len(request.body) - 1}"})

    with answering(google) as front:
        put(scripted(front), "object", content)
        begun, *parts = front.seen
    assert "uploadType=resumable" in begun.path
    assert "ifGenerationMatch=0" in begun.path
    assert {part.path for part in parts} == {"/upload/storage/v1/b/research-2027/o?ifGenerationMatch=0&upload_id=7"}
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    assert [part.headers.get("X-Goog-Hash") for part in parts] == [None, f"md5={md5}"]
    assert b"".join(part.body for part in parts) == content


@pytest.mark.parametrize("size", [100, LARGE])
def test_an_object_that_a_store_kept_wrongly_is_taken_back(size: int, scripted: Callable[[Front], Destination]) -> None:
    def google(request: Request) -> Answer:
        if "uploadType=resumable" in request.path and request.method == "POST":
            return Answer(200, b"{}", {"Location": "http://h/upload?uploadType=resumable&upload_id=7"})
        if request.headers.get("Content-Range", "").startswith("bytes 0-"):
            return Answer(308, b"", {"Range": f"bytes=0-{len(request.body) - 1}"})
        if request.method == "DELETE":
            return Answer(204)
        return made(b"other", generation="17")

    with answering(google) as front:
        with pytest.raises(Damaged, match="different bytes"):
            put(scripted(front), "object", os.urandom(size))
        assert (front.seen[-1].method, front.seen[-1].path) == (
            "DELETE",
            "/storage/v1/b/research-2027/o/object?ifGenerationMatch=17",
        )


@pytest.mark.parametrize("size", [100, LARGE])
def test_bytes_that_change_on_the_way_are_refused(
    size: int, emulator: Place, monkeypatch: pytest.MonkeyPatch, make_front: Callable[..., Front]
) -> None:
    """The emulator compares the MD5 of one request; that of several is compared by us."""
    monkeypatch.setattr(http, "content_md5", lambda _body: base64.b64encode(bytes(16)).decode())
    monkeypatch.setattr(ResumableUpload, "add", lambda *_part: None)
    destination = emulator.open(f"changed-{size}", options={"tries": 1})
    with pytest.raises(Interrupted if size == 100 else Damaged, match="different bytes"):
        put(destination, "object", os.urandom(size))
    assert destination.stat("object") is None


@pytest.mark.parametrize("size", [1000, LARGE])
@pytest.mark.parametrize("what", ["lose", "cut"])
def test_a_write_whose_answers_get_lost_succeeds_once(
    size: int, what: str, emulator: Place, make_front: Callable[..., Front]
) -> None:
    seen: set[str] = set()

    def each_once(request: Request) -> str | None:
        """The emulator forgets an upload that has ended, where Google goes on to tell of it."""
        mark = request.headers.get("Content-Range", request.method)
        if mark in seen or (what == "lose" and mark.endswith(f"-{size - 1}/{size}")):
            return None
        seen.add(mark)
        return what

    content = os.urandom(size)
    prefix = f"lost-{what}-{size}"
    put(emulator.behind(make_front(emulator, each_once)).open(prefix), "object", content)
    emulator.open(prefix).verify("object", size=size, digest=hashlib.sha256(content).hexdigest())


def test_an_upload_that_the_store_forgot_at_its_end_is_looked_for(
    emulator: Place, make_front: Callable[..., Front]
) -> None:
    left = ["lose"]

    def rule(request: Request) -> str | None:
        is_end = request.headers.get("Content-Range", "").endswith(f"-{LARGE - 1}/{LARGE}")
        return left.pop() if is_end and left else None

    content = os.urandom(LARGE)
    put(emulator.behind(make_front(emulator, rule)).open("forgotten"), "object", content)
    assert not left
    assert b"".join(emulator.open("forgotten").read("object")) == content


def test_an_upload_goes_on_where_the_store_says(scripted: Callable[[Front], Destination]) -> None:
    """It took less than was sent, then its answer got lost, then it had all."""
    content = os.urandom(LARGE)
    ranges: list[str] = []

    def google(request: Request) -> Answer:
        if request.method == "POST":
            return Answer(200, b"{}", {"Location": "http://h/upload?upload_id=7"})
        ranges.append(request.headers["Content-Range"])
        if len(ranges) == 1:
            return Answer(308, b"", {"Range": "bytes=0-262143"})
        if len(ranges) == 2:
            return Answer(503)
        if len(ranges) == 3:
            return Answer(308, b"", {"Range": f"bytes=0-{(8 << 20) - 1}"})
        return made(content)

    with answering(google) as front:
        destination = scripted(front)
        destination._tries = 3
        put(destination, "object", content)
    total = LARGE
    assert ranges == [
        f"bytes 0-{(8 << 20) - 1}/{total}",
        f"bytes 262144-{(8 << 20) - 1}/{total}",
        f"bytes */{total}",
        f"bytes {8 << 20}-{total - 1}/{total}",
    ]


def test_a_large_object_that_appears_meanwhile_stays(scripted: Callable[[Front], Destination]) -> None:
    def google(request: Request) -> Answer:
        if request.method == "POST":
            return Answer(200, b"{}", {"Location": "http://h/upload?upload_id=7"})
        if request.method == "DELETE":
            return Answer(499)
        is_first = request.headers["Content-Range"].startswith("bytes 0-")
        return Answer(308, b"", {"Range": f"bytes=0-{len(request.body) - 1}"}) if is_first else Answer(412)

    with answering(google) as front:
        with pytest.raises(Taken):
            put(scripted(front), "object", b"x" * LARGE)
        assert front.seen[-1].method == "DELETE"


def test_a_refused_token_is_renewed_once_and_the_request_sent_again(
    scripted: Callable[[Front], Destination], account: GoogleAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(tokens.time, "monotonic", lambda: clock[0])

    def google(request: Request) -> Answer:
        return Answer(200, b"{}") if request.headers["Authorization"] == f"Bearer token{account.given}" else Answer(401)

    with answering(google) as front:
        destination = scripted(front)
        assert list(destination.list()) == []
        account.given += 1  # the token of before is revoked
        clock[0] += 61
        assert list(destination.list()) == []
        assert len(front.seen) == 3


def test_an_upload_of_another_store_is_a_mistake_of_ours(emulator: Place) -> None:
    store = emulator.open()._store
    assert isinstance(store, GCSStore)
    with pytest.raises(TypeError):
        store.finish(Upload("name", ""))
