"""The sample's device: a program that uses the REST interface with its key, and nothing else of the site."""

import hashlib
from typing import Any

import requests

from portal.errors import Unreachable
from portal.sample.files import SampleFile

TIMEOUT = 60.0


class RestClient:
    """Puts files into one acquisition and takes them out again, over HTTP."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = f"{url}/api"
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the machine has no business between the site and itself
        self._session.headers["Authorization"] = f"Bearer {secret}"

    def acquisition(self, group: str, project: str, labels: tuple[str, str, str]) -> str:
        """The id of the acquisition that a subject's, a session's and its own label name; what is missing is made."""
        parent = self._named(f"groups/{group}/projects", project)
        for noun, above, label in zip(
            ("subjects", "sessions", "acquisitions"), ("project", "subject", "session"), labels, strict=True
        ):
            listed = self._named(f"{above}s/{parent}/{noun}", label)
            parent = listed or self._call("POST", noun, json={above: parent, "label": label}).json()["_id"]
        return parent

    def round_trip(self, acquisition: str, file: SampleFile) -> bool:
        """Upload a file and download it; whether both digests are the file's own."""
        path = f"acquisitions/{acquisition}/files"
        with file.path.open("rb") as content:
            [told] = self._call("POST", path, files={"file": (file.path.name, content)}).json()
        got = self._call("GET", f"{path}/{file.path.name}").content
        own = hashlib.sha256(file.path.read_bytes()).hexdigest()
        return bool(told["hash"].endswith(own)) and hashlib.sha256(got).hexdigest() == own

    def _named(self, path: str, label: str) -> str:
        """The id of the one in a list that has this label; empty if none has."""
        rows = self._call("GET", path).json()
        return next((str(row["_id"]) for row in rows if row["label"] == label), "")

    def _call(self, method: str, path: str, **what: Any) -> requests.Response:
        answer = self._session.request(method, f"{self._url}/{path}", timeout=TIMEOUT, **what)
        if answer.status_code != 200:
            raise Unreachable(f"{method} /api/{path} was answered with {answer.status_code}: {answer.text[:200]}")
        return answer
