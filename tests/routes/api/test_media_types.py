"""The MIME type that a program says of a file is one that an answer can have."""

import json

import pytest

from portal.models import File, writing
from tests.fixtures.api import Api, assert_refused


@pytest.fixture
def path(api: Api) -> str:
    return f"/api/acquisitions/{api.acquisition()}/files"


def send(api: Api, path: str, mimetype: str) -> int:
    said = json.dumps({"mimetype": mimetype})
    answer = api.post(path, files=[("metadata", (None, said)), ("file", ("a.bin", b"hello"))])
    if answer.status_code != 200:
        assert_refused(answer, 422, "media type")
    return answer.status_code


@pytest.mark.parametrize(
    ("mimetype", "sent"),
    [
        ("image/png", "image/png"),
        ("application/vnd.x+json", "application/vnd.x+json"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/plain; charset=latin-1", "text/plain; charset=latin-1"),
        ('multipart/related;type="a b";x=1', 'multipart/related;type="a b";x=1'),
    ],
)
def test_a_media_type_is_that_of_the_download(api: Api, path: str, mimetype: str, sent: str) -> None:
    assert send(api, path, mimetype) == 200
    got = api.get(f"{path}/a.bin")
    assert (got.headers["Content-Type"], got.content) == (sent, b"hello")


@pytest.mark.parametrize(
    "mimetype", ["日本/x", "text", "text/", "/x", "a/b/c", "a b/c", "text/plain;", "text/plain;x", "é/x"]
)
def test_what_is_no_media_type_is_refused_and_nothing_is_kept(api: Api, path: str, mimetype: str) -> None:
    assert send(api, path, mimetype) == 422
    assert File.select().count() == 0


@pytest.mark.parametrize("mimetype", ["日本/x", "text", "", None])
def test_a_file_of_an_older_site_is_downloaded_whatever_its_type(api: Api, path: str, mimetype: str | None) -> None:
    send(api, path, "image/png")
    with writing():
        File.update(mimetype=mimetype).execute()
    got = api.get(f"{path}/a.bin")
    assert (got.status_code, got.headers["Content-Type"], got.content) == (200, "application/octet-stream", b"hello")
