"""The web server against peers that are slow, many, or unusual: pages answer all the same."""

import socket
import statistics
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests

from portal import migrations, models, runtime, settings
from portal.access.actors import operator
from portal.devices import api_keys, devices
from portal.processes import web_requests
from portal.processes.web_worker import MAX_HELD_BYTES, TRANSFER_THREADS, UNFINISHED_PER_ADDRESS
from tests.fixtures.api import Api
from tests.fixtures.servers import CHUNKED, FORM, Server, Slow, crowd, is_dropped, seconds, serving
from tests.fixtures.work import until

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
        key = api_keys.issue(devices.add("importer-east", actor=operator()), name="test", actor=operator()).secret
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
        (Slow("dripping form", FORM, b"a"), 20),
        (Slow("dripping form in chunks", CHUNKED + b"400\r\n", b"a"), 20),
        (Slow("dripping trailers", CHUNKED + b"0\r\nX: ", b"a"), 20),
        (slow_upload(api, acquisition), 40),
        (slow_download(api, acquisition), 20),
        (Slow("reader of a page", style, window=2048), 20),
        (Slow("one that does not close", LAST), 20),
    )
    with crowd(server, *kinds) as many:
        assert len(many.peers) >= 200
        times = [seconds(lambda: requests.get(f"{server.url}/sign-in", timeout=20)) for _ in range(15)]
        assert statistics.median(times) < 1
        assert server.most("Threads") <= 8 + TRANSFER_THREADS + 4
        assert server.most("VmHWM") < 400 * 1024
    until(lambda: api.upload(acquisition, "after.bin", b"x").status_code == 200)


def test_an_address_with_many_slow_uploads_leaves_threads_to_others(api: Api, server: Server, acquisition: str) -> None:
    with crowd(server, (slow_upload(api, acquisition), 60)), server.connect("127.0.0.7") as other:
        body = PART + b"y\r\n--b--\r\n"
        other.sendall(upload_head(api, acquisition, f"Content-Length: {len(body)}", "Connection: close") + body)
        assert other.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_the_oldest_unfinished_connections_of_an_address_make_room_for_new_ones(server: Server) -> None:
    number = 4 * UNFINISHED_PER_ADDRESS
    with ExitStack() as opened:
        halves = [opened.enter_context(server.connect("127.0.0.8")) for _ in range(number)]
        for half in halves:
            half.sendall(PAGE[:-2])
        halves.append(opened.enter_context(server.connect("127.0.0.8")))
        until(lambda: sum(is_dropped(half) for half in halves) >= number - 2 * UNFINISHED_PER_ADDRESS)
        halves[-1].sendall(LAST)
        assert halves[-1].recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_trusted_proxy_is_not_held_to_what_one_address_may_have(server: Server) -> None:
    with ExitStack() as opened:
        halves = [opened.enter_context(server.connect(PROXY)) for _ in range(4 * UNFINISHED_PER_ADDRESS)]
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
        until(lambda: sum(is_dropped(form) for form in forms) >= 90 - 2 * MAX_HELD_BYTES // 1_000_000)
        assert requests.get(f"{server.url}/sign-in", timeout=20).status_code == 200
        assert server.most("VmRSS") - before < 2 * MAX_HELD_BYTES // 1024


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


def test_a_form_in_chunks_and_one_that_waits_for_our_100_are_answered(server: Server) -> None:
    close = b"\r\nConnection: close\r\n\r\n"
    assert received(server, CHUNKED.replace(b"\r\n\r\n", close) + b"3\r\na=b\r\n0\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert received(server, CHUNKED + b"x\r\n").startswith(b"HTTP/1.1 400 ")
    with server.connect() as connection:
        connection.sendall(FORM.replace(b"900", b"3\r\nExpect: 100-continue\r\nConnection: close"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"a=b")
        assert b"HTTP/1.1 400 " in rest_of(connection)


@pytest.mark.parametrize("path", ["sign-in", "api/acquisitions/1/files"])
@pytest.mark.parametrize(("first", "second"), [(4, 40), (40, 4)])
def test_two_lengths_of_one_body_are_refused_at_once(server: Server, path: str, first: int, second: int) -> None:
    lengths = f"Content-Length: {first}\r\nContent-Length: {second}\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(f"POST /{path} HTTP/1.1\r\nHost: x\r\n{lengths}a=bc".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("chunks", [b"zz\r\nabc", b"3\r\nabcdef\r\n0\r\n\r\n", b"-1\r\nabc\r\n", b"3;\0=\0\r\nabc\r\n"])
def test_an_upload_in_broken_chunks_is_refused_in_words(
    api: Api, server: Server, acquisition: str, chunks: bytes
) -> None:
    with server.connect() as connection:
        connection.sendall(upload_head(api, acquisition, "Transfer-Encoding: chunked", "Connection: close") + chunks)
        answer = rest_of(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"chunked encoding" in answer


def test_a_form_in_chunks_without_end_is_refused(server: Server) -> None:
    with server.connect() as connection, suppress(OSError):
        connection.sendall(CHUNKED)
        for _ in range(5):
            connection.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_download_whose_bytes_are_damaged_breaks_off(api: Api, server: Server, acquisition: str) -> None:
    content = b"q" * (3 * MEGABYTE)
    api.upload(acquisition, "damaged.bin", content)
    (segment,) = [path for path in server.site.archive.glob("*.seg") if content in path.read_bytes()]
    with segment.open("r+b") as file:
        file.seek(segment.read_bytes().index(content) + len(content) - 1)
        file.write(b"!")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        api.get(f"/api/acquisitions/{acquisition}/files/damaged.bin")


def test_a_long_filter_in_the_address_is_answered_in_words(api: Api) -> None:
    words = api.get("/api/projects?filter=" + "x" * 8_000)
    assert (words.status_code, words.headers["Content-Type"]) == (422, "application/json")
    assert "4,000 characters" in words.json()["message"]
