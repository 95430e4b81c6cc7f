"""The sample device: a client of the REST interface with its own key."""

import hashlib
from typing import Any

import requests

from portal.errors import Unreachable
from portal.sample.files import SampleFile

TIMEOUT = 60.0


class RestClient:
    """Uploads files into one acquisition and downloads them again."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = f"{url}/api"
        self._session = requests.Session()
        self._session.trust_env = False  # the site is on this machine, whatever proxy is configured
        self._session.headers["Authorization"] = f"Bearer {secret}"

    def acquisition(self, group: str, project: str, labels: tuple[str, str, str]) -> str:
        """The id of the acquisition with these labels of subject, session and acquisition; missing ones are created."""
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
            [uploaded] = self._call("POST", path, files={"file": (file.path.name, content)}).json()
        downloaded = self._call("GET", f"{path}/{file.path.name}").content
        own = hashlib.sha256(file.path.read_bytes()).hexdigest()
        return bool(uploaded["hash"].endswith(own)) and hashlib.sha256(downloaded).hexdigest() == own

    def _named(self, path: str, label: str) -> str:
        """The id of the container with this label in a list; empty if there is none."""
        rows = self._call("GET", path).json()
        return next((str(row["_id"]) for row in rows if row["label"] == label), "")

    def _call(self, method: str, path: str, **what: Any) -> requests.Response:
        answer = self._session.request(method, f"{self._url}/{path}", timeout=TIMEOUT, **what)
        if answer.status_code != 200:
            raise Unreachable(f"{method} /api/{path} was answered with {answer.status_code}: {answer.text[:200]}")
        return answer
