"""The web server against peers that are slow, many, or unusual: pages answer all the same."""

import itertools
import socket
import statistics
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests
from api_fixtures import Api
from server_fixtures import FORM, Server, Slow, crowd, is_dropped, seconds, serving
from work_fixtures import until

from portal import devices, keys, migrations, models, runtime, settings, web_requests
from portal.provenance import operator
from portal.web_connections import TRANSFER_ROOM, PacedSocket
from portal.web_requests import MAX_BODY, parse
from portal.web_worker import MAX_HELD, TRANSFERS, UNFINISHED_OF_ADDRESS

pytestmark = pytest.mark.xdist_group("web server")

MEGABYTE = 1 << 20
PROXY = "127.0.0.9"
PAGE = b"GET /sign-in HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /sign-in HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A device of a site, whose web server runs at its address."""
    site = settings.load(tmp_path_factory.mktemp("served") / "data", {"PORTAL_CHEAP_PASSWORDS": "1"})
    runtime.start(site)
    migrations.apply(site.run / "migrate.lock")
    with models.connection():
        key = keys.issue(devices.add("importer-east", actor=operator()), name="test", actor=operator()).secret
    with serving(site, PORTAL_MIN_FREE="1", PORTAL_TRUSTED_PROXIES=PROXY) as server:
        found = Api(server.url, key)
        found.server = server  # type: ignore[attr-defined]
        yield found
    runtime.archive().close()


@pytest.fixture
def server(api: Api) -> Server:
    return api.server  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="module")
def acquisition(api: Api) -> str:
    found = api.acquisition()
    api.upload(found, "large.bin", b"x" * (8 * MEGABYTE))
    return found


def upload_head(api: Api, acquisition: str, *headers: str) -> bytes:
    lines = (
        f"POST /api/acquisitions/{acquisition}/files HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {api.key}",
        "Content-Type: multipart/form-data; boundary=b",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode()


PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'


def slow_upload(api: Api, acquisition: str) -> Slow:
    return Slow("upload", upload_head(api, acquisition, "Content-Length: 5000000") + PART, b"x")


def slow_download(api: Api, acquisition: str) -> Slow:
    path = f"/api/acquisitions/{acquisition}/files/large.bin"
    return Slow(
        "download",
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n\r\n".encode(),
        window=4096,
    )


def received(server: Server, sent: bytes) -> bytes:
    """All that comes back until the server closes."""
    with server.connect() as connection:
        connection.sendall(sent)
        return rest_of(connection)


def rest_of(connection: socket.socket) -> bytes:
    """What is still to be read of it, until it ends or breaks off."""
    found = bytearray()
    with suppress(ConnectionResetError):
        while data := connection.recv(1 << 20):
            found += data
    return bytes(found)


def test_two_hundred_slow_connections_of_all_kinds_do_not_delay_a_page(
    api: Api, server: Server, acquisition: str
) -> None:
    style = b"GET /static/vendor/tabler/tabler.min.css HTTP/1.1\r\nHost: x\r\n\r\n"
    kinds = (
        (Slow("silent"), 20),
        (Slow("half a head", PAGE[:-2]), 30),
        (Slow("dripping head", PAGE[:-2] + b"X-Slow: ", b"a"), 30),
        (Slow("dripping form", FORM, b"a"), 30),
        (slow_upload(api, acquisition), 40),
        (slow_download(api, acquisition), 20),
        (Slow("reader of a page", style, window=2048), 20),
        (Slow("one that does not close", LAST), 20),
    )
    with crowd(server, *kinds) as many:
        assert len(many.peers) >= 200
        times = [seconds(lambda: requests.get(f"{server.url}/sign-in", timeout=20)) for _ in range(15)]
        assert statistics.median(times) < 1
        assert server.most("Threads") <= 8 + TRANSFERS + 4
        assert server.most("VmHWM") < 400 * 1024
    until(lambda: api.upload(acquisition, "after.bin", b"x").status_code == 200)


def test_an_address_with_many_slow_uploads_leaves_threads_to_others(api: Api, server: Server, acquisition: str) -> None:
    with crowd(server, (slow_upload(api, acquisition), 60)), server.connect("127.0.0.7") as other:
        body = PART + b"y\r\n--b--\r\n"
        other.sendall(upload_head(api, acquisition, f"Content-Length: {len(body)}", "Connection: close") + body)
        assert other.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_the_oldest_unfinished_connections_of_an_address_make_room_for_new_ones(server: Server) -> None:
    number = 4 * UNFINISHED_OF_ADDRESS
    with ExitStack() as opened:
        halves = [opened.enter_context(server.connect("127.0.0.8")) for _ in range(number)]
        for half in halves:
            half.sendall(PAGE[:-2])
        halves.append(opened.enter_context(server.connect("127.0.0.8")))
        until(lambda: sum(is_dropped(half) for half in halves) >= number - 2 * UNFINISHED_OF_ADDRESS)
        halves[-1].sendall(LAST)
        assert halves[-1].recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_trusted_proxy_is_not_held_to_what_one_address_may_have(server: Server) -> None:
    with ExitStack() as opened:
        halves = [opened.enter_context(server.connect(PROXY)) for _ in range(4 * UNFINISHED_OF_ADDRESS)]
        for half in halves:
            half.sendall(PAGE[:-2])
        for half in halves:
            half.sendall(b"Connection: close\r\n\r\n")
        assert all(half.recv(4096).startswith(b"HTTP/1.1 200 ") for half in halves)


def test_forms_that_do_not_end_are_not_kept_without_end(server: Server) -> None:
    before = server.most("VmRSS")
    with ExitStack() as opened:
        forms = [opened.enter_context(server.connect(PROXY)) for _ in range(90)]
        for form in forms:
            with suppress(OSError):  # it is one that was dropped
                form.sendall(FORM.replace(b"900", b"1040000") + b"x" * 1_000_000)
        until(lambda: sum(is_dropped(form) for form in forms) >= 90 - 2 * MAX_HELD // 1_000_000)
        assert requests.get(f"{server.url}/sign-in", timeout=20).status_code == 200
        assert server.most("VmRSS") - before < 2 * MAX_HELD // 1024


def test_half_a_head_and_half_a_form_are_answered_408_after_their_time(server: Server) -> None:
    with server.connect("127.0.0.6") as head, server.connect("127.0.0.6") as form, server.connect("127.0.0.6") as none:
        head.sendall(PAGE[:-2])
        form.sendall(FORM)
        assert none.recv(100) == b""
        assert head.recv(100).startswith(b"HTTP/1.1 408 ")
        assert form.recv(100).startswith(b"HTTP/1.1 408 ")


def test_requests_of_one_connection_are_answered_in_their_order(api: Api, server: Server, acquisition: str) -> None:
    key = f"Authorization: Bearer {api.key}\r\n".encode()
    download = b"GET /api/acquisitions/%s/files/large.bin HTTP/1.1\r\nHost: x\r\n%s\r\n" % (acquisition.encode(), key)
    form = FORM.replace(b"900", b"3") + b"a=b"
    answer = received(server, PAGE + form + download + LAST)
    assert answer.count(b"HTTP/1.1 ") == 4
    assert b"HTTP/1.1 400 " in answer[: answer.index(b"x" * MEGABYTE)]
    assert answer.index(b"x" * (8 * MEGABYTE)) < answer.rindex(b"HTTP/1.1 200 ")


def test_an_upload_that_waits_for_our_100_gets_it(api: Api, server: Server, acquisition: str) -> None:
    body = PART + b"z\r\n--b--\r\n"
    with server.connect() as connection:
        connection.sendall(
            upload_head(api, acquisition, f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close")
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_json_body_in_chunks_is_taken(api: Api) -> None:
    answer = api.post(
        "/api/groups", data=iter([b'{"_id": "chu', b'nked"}']), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 200, answer.text


def test_old_and_short_requests_are_answered(server: Server) -> None:
    assert received(server, b"GET /sign-in HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 ")
    head = received(server, LAST.replace(b"GET", b"HEAD"))
    assert head.startswith(b"HTTP/1.1 200 ")
    assert head.endswith(b"\r\n\r\n")
    assert received(server, b"GET http://x/sign-in HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[9:12] == b"200"
    assert received(server, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_head_that_is_too_large_is_refused(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(PAGE[:-2] + b"X-Large: ")
        connection.sendall(b"a" * (web_requests.MAX_HEAD + 1))
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


def test_a_large_page_is_whole(server: Server) -> None:
    path = "/static/vendor/tabler/tabler.min.css"
    whole = Path(settings.__file__).with_name("static") / path.removeprefix("/static/")
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(requests.get(server.url + path, timeout=20).content))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [whole.read_bytes()] * 8


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[PacedSocket, socket.socket]]:
    """A transfer's socket and its peer; each look at the clock finds it three seconds later."""
    ours, theirs = socket.socketpair()
    paced = PacedSocket(ours)
    paced.begin(is_transfer=True)
    ticks = itertools.count(0, 3)
    monkeypatch.setattr("portal.web_connections.monotonic", lambda: next(ticks))
    with ours, theirs:
        yield paced, theirs


def test_a_peer_that_sends_or_takes_less_than_a_thousand_bytes_a_second_is_dropped(
    pair: tuple[PacedSocket, socket.socket],
) -> None:
    paced, theirs = pair
    theirs.sendall(b"x" * 1000)

    def receive_all() -> None:
        while paced.recv(50):
            pass

    with pytest.raises(ConnectionResetError, match="1024 bytes a second"):
        receive_all()


def test_a_peer_that_keeps_the_rate_may_take_as_long_as_it_needs(pair: tuple[PacedSocket, socket.socket]) -> None:
    paced, theirs = pair
    for _ in range(100):
        theirs.sendall(b"x" * 4096)
        assert len(paced.recv(4096)) == 4096
        paced.sendall(b"y" * (TRANSFER_ROOM + 1))
        assert theirs.recv(TRANSFER_ROOM + 1, socket.MSG_WAITALL)


@pytest.mark.parametrize(
    ("line", "is_transfer"),
    [
        ("POST /api/acquisitions/0005/files", True),
        ("GET /api/acquisitions/%30005/fil%65s/a.dcm?version=1", True),
        ("GET /data/file/3/download", True),
        ("GET /data/session/3/zip?x=1", True),
        ("GET /jobs/3/report.jsonl?q=a", True),
        ("GET /activity/audit?q=a&format=csv", True),
        ("GET http://x/data/file/3/download", True),
        ("GET /data/file/3", False),
        ("GET /search?q=/download", False),
        ("GET /api/projects", False),
    ],
)
def test_what_takes_as_long_as_its_bytes_is_told_by_its_address(line: str, is_transfer: bool) -> None:
    found = parse(bytearray(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
    assert found is not None
    assert found.is_transfer is is_transfer


@pytest.mark.parametrize(
    "header",
    [
        f"Content-Length: {MAX_BODY + 1}",
        "Content-Length: x",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue\r\nContent-Length: 3",
    ],
)
def test_a_body_that_is_not_awaited_in_memory_makes_a_transfer(header: str) -> None:
    found = parse(bytearray(f"POST /sign-in HTTP/1.1\r\n{header}\r\n\r\n".encode()))
    assert found is not None
    assert found.is_transfer
