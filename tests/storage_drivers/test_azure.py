import hashlib
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from portal.errors import BadValue, Damaged, Missing, NoSpace, NotAllowed, PortalError, Taken, Unreachable
from portal.storage_drivers import http
from portal.storage_drivers.azure import config as azure_config
from portal.storage_drivers.azure import driver as azure
from portal.storage_drivers.azure.driver import AzureStore
from portal.storage_drivers.connect import endpoint
from portal.storage_drivers.destination import Destination
from portal.storage_drivers.store import ContainerMissing, CredentialsRefused, Interrupted, Part
from tests.fixtures.cloud_stores import ACCOUNT, ACCOUNT_KEY, CLIENT, Entra, answering, make_container
from tests.fixtures.stores import TIMEOUTS, Answer, Front, Place, Request, Running

PLACE = {"account": "hospital", "container": "research-2027"}
CLIENT_FIELDS = {"tenant": "hospital.example", "client": CLIENT}

pytestmark = pytest.mark.xdist_group("stores")


def put(destination: Destination, key: str, content: bytes, *, overwrite: bool = False) -> None:
    digest = hashlib.sha256(content).hexdigest()
    destination.put(key, [content], size=len(content), digest=digest, overwrite=overwrite)


@pytest.fixture
def place(stores: Running) -> Place:
    return stores["azurite"]


@pytest.fixture
def store(place: Place) -> AzureStore:
    found = place.open()._store
    assert isinstance(found, AzureStore)
    return found


def scripted(front: Front) -> Destination:
    config = azure_config.clean({"account": ACCOUNT, "container": "research-2027", "endpoint": front.url})
    tested = {**config, "create_only": True}
    return azure.open_destination(tested, "", {"account_key": ACCOUNT_KEY}, timeouts=TIMEOUTS, tries=1)


def test_the_public_cloud_is_the_endpoint_where_none_is_given() -> None:
    config = azure_config.clean(PLACE)
    assert azure_config.endpoint_url(config) == "https://hospital.blob.core.windows.net"
    assert azure_config.describe(config) == "research-2027 at hospital.blob.core.windows.net"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"account": "Hospital"}, "account"),
        ({"container": "a"}, "container"),
        ({"container": "two--dashes"}, "container"),
        ({"endpoint": "blob.example"}, "endpoint"),
        ({"endpoint": "https://blob.example/path"}, "endpoint"),
        ({"ca": "no certificate"}, "ca"),
        ({"ca": "kein Zertifikat für uns"}, "ca"),
        ({"tenant": "hospital.example"}, "client"),
        ({"client": CLIENT}, "tenant"),
        ({**CLIENT_FIELDS, "tenant": "a/../b"}, "tenant"),
        ({**CLIENT_FIELDS, "authority": "http://login.example"}, "authority"),
        ({"authority": "https://login.example"}, "authority"),
    ],
)
def test_a_form_that_does_not_fit_is_refused_with_its_field(change: dict[str, str], field: str) -> None:
    with pytest.raises(BadValue) as refused:
        azure_config.clean({**PLACE, **change})
    assert refused.value.field == field


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16"])
def test_an_endpoint_where_clouds_keep_credentials_is_refused(address: str) -> None:
    with pytest.raises(NotAllowed, match=address):
        azure_config.clean({**PLACE, "endpoint": f"http://{address}"})


@pytest.mark.parametrize(
    ("config", "secret", "field"),
    [
        ({}, {}, "account_key"),
        ({}, {"account_key": "AccountKey=abc;"}, "account_key"),
        ({}, {"account_key": "YWJj"}, "account_key"),
        ({}, {"client_secret": "s"}, "client"),
        (CLIENT_FIELDS, {}, "client_secret"),
        (CLIENT_FIELDS, {"client_secret": "s", "account_key": ACCOUNT_KEY}, "account_key"),
    ],
)
def test_credentials_that_do_not_fit_are_refused_with_their_field(
    config: dict[str, str], secret: dict[str, str], field: str
) -> None:
    with pytest.raises(BadValue) as refused:
        azure_config.clean_secret(azure_config.clean({**PLACE, **config}), secret)
    assert refused.value.field == field
    assert ACCOUNT_KEY not in refused.value.message


def test_two_uploads_under_one_name_never_mix_their_blocks(store: AzureStore) -> None:
    first, second = (store.begin("mixed", size=8, overwrite=False) for _writer in range(2))
    for number, part in enumerate((b"abcd", b"efgh")):
        store.send(first, Part(number, 4 * number, memoryview(part)))
        store.send(second, Part(number, 4 * number, memoryview(part.upper())))
    store.finish(first)
    with pytest.raises(Taken):
        store.finish(second)
    assert b"".join(store.read("mixed", 0, None)) == b"abcdefgh"


def test_bytes_that_change_on_the_way_are_refused_by_the_store(
    store: AzureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = store.begin("changed", size=4, overwrite=False)
    monkeypatch.setattr(http, "content_md5", lambda _body: "AAAAAAAAAAAAAAAAAAAAAA==")
    with pytest.raises(Interrupted, match="different bytes"):
        store.send(upload, Part(0, 0, memoryview(b"abcd")))
    with pytest.raises(Interrupted, match="different bytes"):
        store.put("changed", b"abcd", digest="", overwrite=False)
    assert store.stat("changed") is None


def test_a_list_goes_on_after_a_page_or_after_any_key(place: Place) -> None:
    store = place.open(options={"page_size": 2})._store
    names = [f"pages/{number}" for number in range(7)]
    for name in names:
        store.put(name, b"x", digest="", overwrite=True)
    pages = [[found.key for found in page] for page in store.pages("pages/", "")]
    assert pages == [names[:2], names[2:4], names[4:6], names[6:]]
    for after in ("pages/1", "pages/2", "pages/4x"):
        later = [found.key for page in store.pages("pages/", after) for found in page]
        assert later == [name for name in names if name > after]


@pytest.mark.parametrize("name", ["a\\b", "folder./object", "object.", "x" * 1025, "half\udcff"])
def test_a_name_that_azure_would_change_is_refused(name: str, store: AzureStore) -> None:
    with pytest.raises(BadValue):
        store.put(name, b"", digest="", overwrite=False)


@pytest.mark.parametrize("size", [1000, 9 << 20])
@pytest.mark.parametrize("what", ["lose", "cut"])
def test_a_write_whose_answers_get_lost_succeeds_once(
    size: int, what: str, place: Place, make_front: Callable[..., Front]
) -> None:
    seen: set[str] = set()

    def each_once(request: Request) -> str | None:
        if request.method != "PUT" or request.path in seen:
            return None
        seen.add(request.path)
        return what

    content = os.urandom(size)
    prefix = f"lost-{what}-{size}"
    put(place.behind(make_front(place, each_once)).open(prefix), "object", content)
    place.open(prefix).verify("object", size=size, digest=hashlib.sha256(content).hexdigest())


def test_a_wrong_key_and_a_missing_container_are_named(place: Place) -> None:
    wrong = ACCOUNT_KEY.replace("Eby", "Abc")
    for attempt in (
        lambda there: list(there.list()),
        lambda there: there.stat("x"),
        lambda there: put(there, "x", b""),
    ):
        with pytest.raises(CredentialsRefused, match="refuses the account key"):
            attempt(place.open(secret={"account_key": wrong}))
        with pytest.raises(ContainerMissing, match="There is no container nowhere at"):
            attempt(place.open(container="nowhere"))


def refusal(status: int, code: str, headers: dict[str, str] | None = None) -> Callable[[Request], Answer]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    return lambda _request: Answer(status, body, {"x-ms-error-code": code, **(headers or {})})


@pytest.mark.parametrize(
    ("status", "code", "kind", "said"),
    [
        (403, "AuthenticationFailed", CredentialsRefused, "refuses the account key"),
        (
            403,
            "AuthorizationPermissionMismatch",
            NotAllowed,
            r"may not write in the container research-2027.*blobs/write",
        ),
        (403, "KeyBasedAuthenticationNotPermitted", CredentialsRefused, "accepts no account keys"),
        (403, "AccountIsDisabled", CredentialsRefused, "disabled"),
        (404, "ContainerNotFound", ContainerMissing, "no container research-2027"),
        (409, "BlobAlreadyExists", Taken, "already exists"),
        (409, "BlobImmutableDueToPolicy", NotAllowed, "policy"),
        (412, "LeaseIdMissing", NotAllowed, "lease"),
        (400, "InvalidHeaderValue", Unreachable, "InvalidHeaderValue"),
        (500, "InternalError", Interrupted, "is temporarily unavailable"),
        (507, "", NoSpace, "no room"),
        (400, "InvalidBlockList", Missing, "no longer known"),
        (400, "InvalidBlobOrBlock", NotAllowed, "Another program"),
        (400, "Md5Mismatch", Interrupted, "different bytes"),
        (302, "", Unreachable, "not like Azure"),
    ],
)
def test_each_refusal_to_write_is_said_in_words(status: int, code: str, kind: type[PortalError], said: str) -> None:
    with answering(refusal(status, code)) as front, pytest.raises(kind, match=said) as raised:
        put(scripted(front), "object", b"x")
    assert raised.value.message.endswith(".")


def test_a_denied_delete_names_the_right_that_is_lacking() -> None:
    with (
        answering(refusal(403, "AuthorizationPermissionMismatch")) as front,
        pytest.raises(NotAllowed, match=r"may not delete.*blobs/delete"),
    ):
        scripted(front).delete("object")


def test_a_busy_store_is_waited_for_as_long_as_it_asks() -> None:
    with answering(refusal(503, "ServerBusy", {"Retry-After": "7"})) as front, pytest.raises(Interrupted) as raised:
        put(scripted(front), "object", b"x")
    assert raised.value.retry_after == 7


def test_clocks_that_differ_are_named_as_the_cause() -> None:
    then = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    answer = refusal(403, "AuthenticationFailed", {"Date": then})
    with answering(answer) as front, pytest.raises(CredentialsRefused, match="clocks"):
        list(scripted(front).list())


@pytest.mark.parametrize("body", [b"", b"<html>", b"<Other/>", b"<!DOCTYPE x><EnumerationResults/>"])
def test_a_list_that_is_none_is_refused(body: bytes) -> None:
    with answering(lambda _request: Answer(200, body)) as front, pytest.raises(Unreachable, match="not like Azure"):
        list(scripted(front).list())


@pytest.mark.parametrize("pages", [("a", "b"), ("ab", "cd", "ef"), ("", "")])
@pytest.mark.parametrize("marks", [2, 1_000_000])
def test_a_list_that_goes_in_circles_is_refused_and_nothing_of_it_comes_twice(
    pages: tuple[str, ...], marks: int
) -> None:
    blob = "<Blob><Name>%s</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>"

    def turn(request: Request) -> Answer:
        blobs = "".join(blob % name for name in pages[(request.number - 1) % len(pages)])
        mark = f"<NextMarker>{request.number % marks}</NextMarker>"
        return Answer(200, f"<EnumerationResults><Blobs>{blobs}</Blobs>{mark}</EnumerationResults>".encode())

    found: list[str] = []
    with answering(turn) as front, pytest.raises(Damaged, match="does not end"):
        found.extend(stat.key for stat in scripted(front).list())
    assert found == list("".join(pages))[: len(found)]


def test_a_list_by_folders_does_not_go_on_by_name() -> None:
    blobs = "".join(
        f"<Blob><Name>{name}</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>"
        for name in ("a/b", "a-b")
    )
    body = f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>".encode()
    with answering(lambda _request: Answer(200, body)) as front:
        destination = scripted(front)
        assert [found.key for found in destination.list()] == ["a/b", "a-b"]
        with pytest.raises(NotAllowed, match="does not list by name"):
            list(destination.list(after="a"))


def test_a_whole_object_in_place_of_a_range_is_damage() -> None:
    with answering(lambda _request: Answer(200, b"abcd")) as front, pytest.raises(Damaged):
        list(scripted(front).read("object", 1, 2))


def by_client(place: Place, url: str, secret: str = "planted-secret", **changes: str) -> Destination:
    return place.open(
        secret={"client_secret": secret}, options={"tries": 1}, **{**CLIENT_FIELDS, "authority": url, **changes}
    )


def test_a_client_signs_in_once_for_all_threads_over_tls_with_an_own_ca(
    secure_azurite: Place, entra: tuple[Entra, str]
) -> None:
    known, url = entra
    destination = by_client(secure_azurite, url)
    assert "trusted and valid until" in [step() for _name, step in destination.steps()][2]
    put(destination, "object", b"content", overwrite=True)
    read: list[bytes] = []
    threads = [threading.Thread(target=lambda: read.extend(destination.read("object"))) for _reader in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [b"content"] * 4
    assert known.given == 1
    assert known.forms[0]["client_secret"] == ["planted-secret"]
    assert known.forms[0]["scope"] == ["https://storage.azure.com/.default"]


def test_a_certificate_of_an_unknown_ca_is_refused(secure_azurite: Place) -> None:
    with pytest.raises(Unreachable, match="not trusted here") as raised:
        put(secure_azurite.open(ca=""), "object", b"")
    assert raised.value.permanent


@pytest.mark.parametrize(
    ("error", "said"),
    [("AADSTS7000215", "secret"), ("AADSTS7000222", "expired"), ("AADSTS90002", "tenant"), ("AADSTS700016", "client")],
)
def test_a_client_that_is_refused_is_told_why(
    error: str, said: str, secure_azurite: Place, entra: tuple[Entra, str]
) -> None:
    known, url = entra
    known.error = error
    steps = dict(by_client(secure_azurite, url).steps())
    with pytest.raises(CredentialsRefused, match=said) as raised:
        steps["Signed in"]()
    assert "planted-secret" not in raised.value.message


def test_a_client_whose_container_is_missing_is_told_so(secure_azurite: Place, entra: tuple[Entra, str]) -> None:
    destination = by_client(secure_azurite, entra[1], container="nowhere")
    steps = dict(destination.steps())
    assert steps["Signed in"]() == "The client is known, and its secret is correct."
    with pytest.raises(ContainerMissing, match="no container nowhere"):
        steps["Container found"]()
    make_container(secure_azurite, "nowhere")
    assert steps["Container found"]() == "The container nowhere exists."


def test_an_account_in_the_host_name_does_not_stand_in_the_path() -> None:
    config = azure_config.clean({**PLACE, "endpoint": "https://hospital.blob.stack.example"})
    store = AzureStore(endpoint(azure_config.endpoint_url(config)), config, b"k" * 16, None)
    assert store._base == ""
