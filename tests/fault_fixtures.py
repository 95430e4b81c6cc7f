"""Faults between exports and their stores, by a seed; and what lies in a store, read around them by other programs."""

import contextlib
import hashlib
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import requests
from libcloud.storage.drivers.azure_blobs import AzureBlobsStorageDriver
from store_fixtures import ACCESS_KEY, SECRET, Answer, Place, Request

WRITES = ("PUT", "POST")
ANY = ("GET", "HEAD", "PUT", "POST", "DELETE")
FAULTS: dict[str, tuple[str, ...]] = {
    "break": WRITES,
    "cut": ANY,
    "lose": ANY,
    "half": ("GET",),
    "late": ANY,
    "500": ANY,
    "503": ANY,
    "lie": WRITES,
}
"""Each fault, and the requests that meet it."""


class Faulty:
    """Chooses faults by a seed, for each request by what it asks for: the order of threads changes nothing.

    (Google's uploads all ask for the same, so there it does.)
    With the fault "lie", one of `never` objects with a 5 at the end is never stored, though the answer is yes each
    time.
    """

    def __init__(
        self, seed: int, *, one_of: int = 20, never: int = 50, faults: tuple[str, ...] = tuple(FAULTS)
    ) -> None:
        self._seed = seed
        self._one_of = one_of
        self._never = never
        self._faults = faults
        self._lock = threading.Lock()
        self._times: Counter[tuple[str, str]] = Counter()
        self.met: Counter[str] = Counter()

    def __call__(self, request: Request) -> Answer | str | None:
        fault = self._choose(request.method, request.path)
        promise = a_promise(request)
        if promise and (fault == "lie" or self.is_never_stored(request)):
            return promise
        if fault == "500":
            return Answer(500, b"<Error><Code>InternalError</Code></Error>")
        if fault == "503":
            return Answer(503, b"<Error><Code>SlowDown</Code></Error>", {"Retry-After": "1"})
        return None if fault in ("", "lie") else fault

    def breaks(self, method: str, path: str) -> bool:
        return self._choose(method, f"break {path}") == "break"

    def is_never_stored(self, request: Request) -> bool:
        found = re.search(rb"\d+5\.bin", request.path.encode() + request.body[:1000])
        chance = random.Random(f"{self._seed} {found[0].decode()}") if found else None
        return "lie" in self._faults and chance is not None and chance.randrange(self._never) == 0

    def _choose(self, method: str, path: str) -> str:
        with self._lock:
            self._times[method, path] += 1
            chance = random.Random(f"{self._seed} {method} {path} {self._times[method, path]}")
            if chance.randrange(self._one_of):
                return ""
            is_break = path.startswith("break ")
            fitting = [name for name in self._faults if method in FAULTS[name] and (name == "break") == is_break]
            fault = chance.choice(fitting) if fitting else ""
            self.met[fault or "none"] += 1
            return fault


def a_promise(request: Request) -> Answer | None:
    """What a store of that kind says when it has taken an object or a part; None for other requests."""
    if request.path.startswith("/upload/storage/"):
        return _as_google(request)
    if request.method != "PUT":
        return None
    return Answer(201) if request.path.startswith("/devstoreaccount1/") else Answer(200, headers={"ETag": '"1"'})


def _as_google(request: Request) -> Answer | None:
    if "uploadType=multipart" in request.path:
        opening, named, content = request.body.split(b"\r\n\r\n", 2)
        mark = opening.partition(b"\r\n")[0]
        size = len(content) - len(b"\r\n" + mark + b"--\r\n")
        told = json.loads(named.partition(b"\r\n")[0])
        return Answer(200, json.dumps({**told, "size": str(size)}).encode())
    sent = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", request.headers.get("Content-Range", ""))
    if not sent:
        return None
    if int(sent[2]) + 1 < int(sent[3]):
        return Answer(308, headers={"Range": f"bytes=0-{sent[2]}"})
    return Answer(200, json.dumps({"size": sent[3]}).encode())


Read = Callable[[str], bytes]


def objects(place: Place, prefix: str) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each object that lies there, read by another client and around the proxy."""
    with _READERS[place.provider](place, f"{prefix}/") as (found, read), ThreadPoolExecutor(4) as pool:
        contents = pool.map(read, found)
        return {
            key.removeprefix(f"{prefix}/"): (len(content), hashlib.sha256(content).hexdigest())
            for key, content in zip(found, contents, strict=True)
        }


@contextlib.contextmanager
def _by_boto3(place: Place, prefix: str) -> Iterator[tuple[list[str], Read]]:
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    with contextlib.closing(boto3.client("s3", endpoint_url=place.config["endpoint"], **keys)) as client:

        def read(key: str) -> bytes:
            with contextlib.closing(client.get_object(Bucket="bucket", Key=key)["Body"]) as body:
                return bytes(body.read())

        pages = client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=prefix)
        yield [entry["Key"] for page in pages for entry in page.get("Contents", ())], read


@contextlib.contextmanager
def _by_libcloud(place: Place, prefix: str) -> Iterator[tuple[list[str], Read]]:
    """Libcloud's own driver; not the one that is made of it."""
    at = urlsplit(place.config["endpoint"])
    key, secret = place.config["account"], place.secret["account_key"]

    def driver() -> AzureBlobsStorageDriver:
        return AzureBlobsStorageDriver(key, secret, host=at.hostname, port=at.port, secure=False)

    container = driver().get_container(place.config["container"])
    found = {each.name: each for each in container.driver.iterate_container_objects(container, prefix=prefix)}
    own = threading.local()  # one driver for several threads mixes up their answers

    def read(name: str) -> bytes:
        if not hasattr(own, "driver"):
            own.driver = driver()
        return b"".join(own.driver.download_object_as_stream(found[name]))

    yield list(found), read


@contextlib.contextmanager
def _by_rest(place: Place, prefix: str) -> Iterator[tuple[list[str], Read]]:
    """The emulators of Google's interface look at no token."""
    base = f"{place.config['endpoint']}/storage/v1/b/{place.config['bucket']}/o"

    def pages(mark: str = "") -> Iterator[dict[str, Any]]:
        page = requests.get(base, {"prefix": prefix, "pageToken": mark}, timeout=20).json()
        yield from page.get("items", ())
        if page.get("nextPageToken"):
            yield from pages(page["nextPageToken"])

    def read(name: str) -> bytes:
        answer = requests.get(f"{base}/{quote(name, safe='')}", {"alt": "media"}, timeout=20)
        answer.raise_for_status()
        return answer.content

    yield [entry["name"] for entry in pages()], read


_READERS = {"s3": _by_boto3, "azure": _by_libcloud, "gcs": _by_rest}
