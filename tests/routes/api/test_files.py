"""Files up and down over the REST interface."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from portal import models, runtime
from portal import site_settings as portal_site_settings
from portal.access.actors import operator
from portal.models import (
    ALTERNATE,
    CURRENT,
    Audit,
    Blob,
    Conflict,
    Device,
    File,
    FileVersion,
    Instance,
    Job,
    Study,
)
from portal.settings import Settings
from tests.fixtures.api import Api, assert_refused
from tests.fixtures.archive import vendor_file, with_another_pixel

BOUNDARY = "----portico"


def part(head: str | bytes, content: bytes = b"x") -> bytes:
    """One part of a multipart body, with its headers as they are given."""
    head = head.encode() if isinstance(head, str) else head
    return f"--{BOUNDARY}\r\n".encode() + head + b"\r\n\r\n" + content + b"\r\n"


def file_part(name: str | bytes, content: bytes = b"x") -> bytes:
    name = name.encode() if isinstance(name, str) else name
    return part(b'Content-Disposition: form-data; name="file"; filename="' + name + b'"', content)


def metadata_part(content: bytes) -> bytes:
    return part('Content-Disposition: form-data; name="metadata"', content)


END = f"--{BOUNDARY}--\r\n".encode()


def send(api: Api, acquisition: str, body: bytes, kind: str | None = None) -> requests.Response:
    kind = f"multipart/form-data; boundary={BOUNDARY}" if kind is None else kind
    return api.post(f"/api/acquisitions/{acquisition}/files", data=body, headers={"Content-Type": kind})


def segments(settings: Settings) -> int:
    """Bytes of the archive that hold records."""
    return sum(path.stat().st_size for path in settings.archive.glob("*.seg"))


@pytest.fixture
def acquisition(api: Api) -> str:
    return api.acquisition()


@pytest.fixture
def ct() -> bytes:
    return vendor_file("CT_small.dcm").read_bytes()


def test_a_dicom_file_lands_shows_its_origin_and_comes_back_byte_for_byte(
    api: Api, device: Device, acquisition: str, ct: bytes
) -> None:
    answer = api.upload(acquisition, "ct.dcm", ct)
    assert answer.status_code == 200, answer.text
    (told,) = answer.json()
    origin = {"type": "device", "id": f"0007{device.id:020x}", "via": api.key[:10], "name": device.label}
    assert told["origin"] == origin
    assert (told["name"], told["type"], told["outcome"], told["version"]) == ("ct.dcm", "dicom", "stored", 1)
    assert (told["size"], told["hash"]) == (len(ct), hashlib.sha256(ct).hexdigest())
    assert told["parent_ref"] == {"type": "acquisition", "id": acquisition}
    (listed,) = api.get(f"/api/acquisitions/{acquisition}/files").json()
    assert listed == {name: told[name] for name in listed}
    assert Instance.get().sop_uid == "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
    got = api.get(f"/api/acquisitions/{acquisition}/files/ct.dcm")
    assert got.content == ct
    assert got.headers["Content-Type"] == "application/dicom"
    assert got.headers["Content-Length"] == str(len(ct))


def test_the_same_content_twice_is_one_file(api: Api, acquisition: str, ct: bytes, site_settings: Settings) -> None:
    for name, content in (("ct.dcm", ct), ("notes.txt", b"hello")):
        first = api.upload(acquisition, name, content).json()[0]
        size = segments(site_settings)
        again = api.upload(acquisition, name, content).json()[0]
        assert (again["outcome"], again["file_id"], again["version"]) == ("same", first["file_id"], 1)
        assert segments(site_settings) == size
    assert File.select().count() == 2


def test_a_file_that_is_no_dicom_is_kept_and_gets_a_version_for_other_content(api: Api, acquisition: str) -> None:
    first = api.upload(acquisition, "notes.txt", b"hello").json()[0]
    assert (first["type"], first["version"], first["outcome"]) == ("text", 1, "stored")
    second = api.upload(acquisition, "notes.txt", b"hello again").json()[0]
    assert (second["file_id"], second["version"], second["outcome"]) == (first["file_id"], 2, "version")
    assert api.get(f"/api/acquisitions/{acquisition}/files/notes.txt").content == b"hello again"
    assert FileVersion.select().count() == 1


@pytest.mark.parametrize("noun", ["projects", "subjects", "sessions", "acquisitions"])
def test_each_container_below_a_group_takes_files(api: Api, acquisition: str, noun: str) -> None:
    told = api.get(f"/api/acquisitions/{acquisition}").json()
    container = acquisition if noun == "acquisitions" else told["parents"][noun[:-1]]
    sent = api.post(f"/api/{noun}/{container}/files", files={"file": ("a.txt", b"hello")})
    assert sent.json()[0]["parent_ref"] == {"type": noun[:-1], "id": container}
    assert api.get(f"/api/{noun}/{container}/files/a.txt").content == b"hello"


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"--", b"\r\n--" + BOUNDARY[:-1].encode(), b"\r" * 70_000])
def test_content_that_looks_like_the_end_of_a_part_comes_back_whole(api: Api, acquisition: str, content: bytes) -> None:
    answer = send(api, acquisition, file_part("odd.bin", content) + END)
    assert answer.status_code == 200, answer.text
    assert api.get(f"/api/acquisitions/{acquisition}/files/odd.bin").content == content


@pytest.mark.parametrize(
    "name", ["scan 1.dcm", "Ünïcödé.txt", "山田.dcm", "صورة.dcm", 'quote".txt', "semi;colon.txt", "100%.txt", "a" * 255]
)
def test_a_file_keeps_its_name_both_ways(api: Api, acquisition: str, name: str) -> None:
    sent = send(api, acquisition, file_part(name.replace('"', '\\"'), b"hello") + END)
    assert sent.json()[0]["name"] == name
    got = api.get(f"/api/acquisitions/{acquisition}/files/{requests.utils.quote(name, safe='')}")
    assert got.content == b"hello"
    disposition = got.headers["Content-Disposition"]
    assert disposition.startswith('attachment; filename="')
    assert disposition.endswith(f"filename*=UTF-8''{requests.utils.quote(name, safe='')}")
    assert got.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", "../x", "../../etc/passwd", "/etc/passwd", "a/b.dcm", "C:\\\\x.dcm"),
        *("a\0b", "\x1b[31m", "a" * 500, "é" * 128, "\u202egnp.exe", "\u200b", "a\u2028b"),
    ],
)
def test_a_hostile_name_is_refused_and_nothing_is_kept(
    api: Api, acquisition: str, site_settings: Settings, name: str
) -> None:
    assert_refused(send(api, acquisition, file_part(name) + END), 422, "name")
    assert (File.select().count(), Blob.select().count()) == (0, 0)
    assert segments(site_settings) == 0


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "incomplete"),
        (END, 422, "has no file"),
        (file_part("a.txt"), 400, "incomplete"),
        (file_part("a.txt") + END[:-4], 400, "incomplete"),
        (file_part("a.txt") + file_part("a.txt") + END, 422, "two files with the name"),
        (metadata_part(b"{}") + file_part("a.txt") + metadata_part(b"{}") + END, 422, "two parts metadata"),
        (metadata_part(b"{") + file_part("a.txt") + END, 422, "not valid JSON"),
        (metadata_part(b"[" * 100_000) + file_part("a.txt") + END, 422, "not valid JSON"),
        (metadata_part(b"\xff") + file_part("a.txt") + END, 422, "not valid JSON"),
        (metadata_part(b'{"info": NaN}') + file_part("a.txt") + END, 422, "not valid JSON"),
        (metadata_part(b"7") + file_part("a.txt") + END, 422, "must be an object"),
        (metadata_part(b'{"tags": "x"}') + file_part("a.txt") + END, 422, "list of texts"),
        (metadata_part(b'{"name": "b.txt", "type": "x"}') + file_part("a.txt") + END, 422, "no file of it"),
        (metadata_part(b" " * 1_000_001) + file_part("a.txt") + END, 413, "too large"),
        (b"".join(file_part(f"{number}.txt") for number in range(101)) + END, 413, "too large"),
        (file_part("a.txt") + part('Content-Disposition: form-data; name="m"') + END, 422, "'m'"),
        (part("Content-Type: text/plain") + END, 400, "malformed"),
        (part(b"Content-Disposition: form-data; filename=\xff\xfe") + END, 400, "malformed"),
        (part("X: " + "y" * 2_000_000) + END, 413, "too large"),
        (b"z" * 2_000_000, 413, "too large"),
        (file_part("a.txt") + END + b"z" * 2_000_000, 413, "too large"),
    ],
)
def test_a_body_that_is_not_one_whole_file_is_refused_and_nothing_is_kept(
    api: Api, acquisition: str, site_settings: Settings, body: bytes, status: int, words: str
) -> None:
    assert_refused(send(api, acquisition, body), status, words)
    assert (File.select().count(), Blob.select().count()) == (0, 0)
    assert segments(site_settings) == 0


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/dicom", 415),
        ("application/json", 415),
        ("multipart/form-data", 415),
        ("multipart/mixed; boundary=x", 415),
        (f"multipart/form-data; boundary={'x' * 500}", 400),
    ],
)
def test_a_body_of_another_kind_is_refused(api: Api, acquisition: str, kind: str, status: int) -> None:
    assert_refused(send(api, acquisition, file_part("a.txt") + END, kind), status)


def test_a_compressed_body_is_refused(api: Api, acquisition: str) -> None:
    assert_refused(api.upload(acquisition, "a.txt", b"x", headers={"Content-Encoding": "gzip"}), 415)


def test_a_program_in_disguise_is_refused(api: Api, acquisition: str, ct: bytes) -> None:
    assert_refused(api.upload(acquisition, "ct.dcm", b"MZ" + ct[2:]), 422, "program")
    assert File.select().count() == 0


@pytest.fixture
def other(ct: bytes) -> bytes:
    """Other content under the UID of `ct`."""
    return with_another_pixel(ct)


def test_other_content_under_a_known_uid_is_refused_with_the_reason_and_nothing_is_kept(
    api: Api, acquisition: str, ct: bytes, other: bytes, site_settings: Settings
) -> None:
    api.upload(acquisition, "ct.dcm", ct)
    size = segments(site_settings)
    for _ in range(2):
        answer = api.upload(acquisition, "ct.dcm", other)
        assert_refused(answer, 409, "Different content, same SOP Instance UID")
        assert "?on_conflict=hold" in answer.json()["message"]
    assert (File.select().count(), Conflict.select().count(), segments(site_settings)) == (1, 0, size)


def test_other_content_is_held_where_the_client_asks_for_that(
    api: Api, acquisition: str, ct: bytes, other: bytes
) -> None:
    api.upload(acquisition, "ct.dcm", ct)
    path = f"/api/acquisitions/{acquisition}/files?on_conflict=hold"
    held = api.post(path, files={"file": ("ct.dcm", other)}).json()[0]
    assert held["outcome"] == "conflict"
    assert "Different content" in held["message"]
    assert held["name"] != "ct.dcm"
    again = api.post(path, files={"file": ("ct.dcm", other)}).json()[0]
    assert (again["outcome"], again["file_id"]) == ("same", held["file_id"])
    assert "Different content" in again["message"]
    assert_refused(api.upload(acquisition, "ct.dcm", other), 409, "hidden from peers: Different content")
    assert_refused(
        api.post(path.replace("hold", "drop"), files={"file": ("ct.dcm", other)}), 422, "on_conflict must be one of"
    )


def test_a_site_that_replaces_other_content_still_refuses_another_patients_object(
    api: Api, acquisition: str, ct: bytes, other: bytes
) -> None:
    portal_site_settings.change({"archive.duplicates": "replace"}, actor=operator())
    api.upload(acquisition, "ct.dcm", ct)
    assert api.upload(acquisition, "ct.dcm", other).json()[0]["outcome"] == "stored"
    patient = ct.replace(b"1CT1", b"2CT2")
    assert patient != ct
    assert_refused(api.upload(acquisition, "ct.dcm", patient), 409, "another Patient ID")


@pytest.fixture
def second(api: Api, acquisition: str) -> str:
    """Another acquisition of the same session."""
    session = api.get(f"/api/acquisitions/{acquisition}").json()["parents"]["session"]
    return api.made("/api/acquisitions", session=session, label="T2")


def test_the_same_object_stands_in_each_acquisition_that_it_is_uploaded_to_and_peers_see_it_once(
    api: Api, acquisition: str, second: str, ct: bytes
) -> None:
    first = api.upload(acquisition, "ct.dcm", ct).json()[0]
    told = api.upload(second, "ct.dcm", ct).json()[0]
    assert (told["outcome"], told["name"], told["parent_ref"]["id"]) == ("stored", "ct.dcm", second)
    assert "elsewhere in this project" in told["message"]
    assert told["file_id"] != first["file_id"]
    for where, file in ((acquisition, first), (second, told)):
        assert [each["file_id"] for each in api.get(f"/api/acquisitions/{where}/files").json()] == [file["file_id"]]
        assert api.get(f"/api/acquisitions/{where}/files/ct.dcm").content == ct
        again = api.upload(where, "ct.dcm", ct).json()[0]
        assert (again["outcome"], again["file_id"]) == ("same", file["file_id"])
    assert [row.state for row in Instance.select().order_by(Instance.id)] == [CURRENT, ALTERNATE]
    assert (Study.get().n_instances, Job.select().count()) == (1, 0)


def test_an_older_version_is_given_by_its_number(api: Api, acquisition: str) -> None:
    for content in (b"one", b"two", b"three"):
        api.upload(acquisition, "notes.txt", content)
    path = f"/api/acquisitions/{acquisition}/files/notes.txt"
    told = {number: api.get(f"{path}?version={number}") for number in (1, 2, 3)}
    assert [answer.content for answer in told.values()] == [b"one", b"two", b"three"]
    assert len({answer.headers["ETag"] for answer in told.values()}) == 3
    assert api.get(path).content == b"three"
    for odd, status in (("4", 404), ("0", 422), ("x", 422), ("", 422), ("9" * 400, 422)):
        assert_refused(api.get(f"{path}?version={odd}"), status)
    downloads = Audit.select().where(Audit.action == "file:downloaded").order_by(Audit.id)
    assert [act.detail["version"] for act in downloads] == [1, 2, 3, 3]


@pytest.mark.parametrize("query", ["version=1&version=2", "Version=1", "hash=x&other=y"])
def test_what_is_not_known_is_refused_rather_than_answered_with_something_else(
    api: Api, acquisition: str, query: str
) -> None:
    api.upload(acquisition, "dicom.zip", b"PK")
    assert_refused(api.get(f"/api/acquisitions/{acquisition}/files/dicom.zip?{query}"), 422, "Nothing was done")


def test_a_file_for_a_container_that_there_is_not_is_refused(api: Api, acquisition: str) -> None:
    for unknown in ("000500000000000000000099", "000200000000000000000001", "x"):
        assert_refused(api.upload(unknown, "a.txt", b"x"), 404)
        assert_refused(api.get(f"/api/acquisitions/{unknown}/files"), 404)
        assert_refused(api.get(f"/api/acquisitions/{unknown}/files/a.txt"), 404)
    assert_refused(api.get(f"/api/acquisitions/{acquisition}/files/a.txt"), 404, "no file 'a.txt'")
    for path in ("..%2f..%2fportal.db", "%2e%2e", "%00"):
        assert_refused(api.get(f"/api/acquisitions/{acquisition}/files/{path}"), 404)


def restart(settings: Settings) -> None:
    """Bind this process, which serves the interface too, to other settings."""
    runtime.archive().close()
    runtime.start(settings)


def test_a_file_larger_than_the_site_takes_is_refused(api: Api, acquisition: str, site_settings: Settings) -> None:
    restart(replace(site_settings, max_upload=1000))
    assert api.upload(acquisition, "fits.bin", b"x" * 1000).status_code == 200
    before = segments(site_settings)
    assert_refused(api.upload(acquisition, "large.bin", b"x" * 1001), 413, "too large")
    assert_refused(api.upload(acquisition, "huge.bin", b"x" * 3_000_000), 413, "too large")
    with models.connection():
        assert [file.name for file in File.select()] == ["fits.bin"]
    assert segments(site_settings) == before


def test_a_nearly_full_disk_refuses_an_upload_and_still_gives_files_back(
    api: Api, acquisition: str, site_settings: Settings
) -> None:
    api.upload(acquisition, "a.txt", b"hello")
    restart(replace(site_settings, min_free=1 << 60))
    assert_refused(api.upload(acquisition, "b.txt", b"x"), 507, "nearly full")
    assert api.get(f"/api/acquisitions/{acquisition}/files/a.txt").content == b"hello"


def test_a_download_is_in_the_log_by_number_and_not_by_name(api: Api, acquisition: str) -> None:
    told = api.upload(acquisition, "Doe^Jane.txt", b"hello").json()[0]
    api("HEAD", f"/api/acquisitions/{acquisition}/files/Doe^Jane.txt")
    api.get(f"/api/acquisitions/{acquisition}/files/Doe^Jane.txt")
    (act,) = Audit.select().where(Audit.action == "file:downloaded")
    assert (act.actor_type, act.via, act.address) == ("device", api.key[:10], "127.0.0.1")
    assert act.target_id == str(int(told["file_id"][4:], 16))
    assert "Doe" not in str([row.detail for row in Audit.select()])


def damage(settings: Settings, offset: int) -> None:
    """Change one byte of the one file that there is."""
    blob = Blob.get()
    path: Path = settings.archive / blob.segment
    with path.open("r+b") as segment:
        segment.seek(blob.offset + offset)
        byte = segment.read(1)
        segment.seek(blob.offset + offset)
        segment.write(bytes([byte[0] ^ 1]))


def test_a_small_damaged_file_is_named_instead_of_given(api: Api, acquisition: str, site_settings: Settings) -> None:
    api.upload(acquisition, "a.txt", b"hello")
    damage(site_settings, 2)
    assert_refused(api.get(f"/api/acquisitions/{acquisition}/files/a.txt"), 503, "differ from those received")


def test_a_large_damaged_file_breaks_off_before_its_end(api: Api, acquisition: str, site_settings: Settings) -> None:
    api.upload(acquisition, "a.bin", b"x" * 3_500_000)
    damage(site_settings, 100)
    with pytest.raises(requests.RequestException):
        api.get(f"/api/acquisitions/{acquisition}/files/a.bin")


def test_a_lost_segment_is_named(api: Api, acquisition: str, site_settings: Settings) -> None:
    api.upload(acquisition, "a.txt", b"hello")
    (site_settings.archive / Blob.get().segment).unlink()
    assert_refused(api.get(f"/api/acquisitions/{acquisition}/files/a.txt"), 503, "Restore it from a backup")
    assert runtime.archive().segments() == []
