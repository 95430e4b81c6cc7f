"""A session as a zip: whole, safe to unpack, checked, and written down once."""

import hashlib
import io
import os
import struct
import zipfile
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path, PurePosixPath

import pytest

from portal import runtime
from portal.access import rights
from portal.access.actors import Actor
from portal.errors import Damaged, Missing
from portal.ingest import conflicts
from portal.models import Acquisition, Audit, Blob, File, Project, Session, writing
from portal.settings import Settings
from portal.tree import containers, zips
from tests.fixtures.archive import a_project, an_object, store, store_vendor_file, upload
from tests.fixtures.web import Visitor

NOW = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


def packed(session: Session, admin: Actor) -> zipfile.ZipFile:
    found = zips.prepare(session.id, rights.scope(admin))
    return zipfile.ZipFile(io.BytesIO(b"".join(found.chunks())))


def test_the_zip_holds_each_file_as_it_was_received(project: Project, admin: Actor) -> None:
    for number in range(3):
        store(an_object(SOPInstanceUID=f"1.2.3.{number}"), project)
    upload(b"notes", Acquisition.get().id, "notes.txt", actor=admin)

    found = packed(Session.get(), admin)

    assert found.testzip() is None
    digests = {hashlib.sha256(found.read(name)).hexdigest() for name in found.namelist()}
    assert digests == {blob.digest for blob in Blob.select()}
    assert all(PurePosixPath(name).parts[0] == "2004-01-19 e+1" for name in found.namelist())


def test_no_name_in_a_zip_leads_elsewhere(project: Project, admin: Actor) -> None:
    store(an_object(StudyDescription="../../etc", SeriesDescription="C:\\evil|?", SeriesNumber="1"), project)
    with writing():
        Acquisition.update(label="..").execute()
        File.update(name="..\\..\\a\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe").execute()
    for name in packed(Session.get(), admin).namelist():
        parts = PurePosixPath(name).parts
        assert len(parts) == 3
        assert not {"..", ".", ""} & set(parts)
        assert "\\" not in name
        assert ":" not in name


def test_what_is_held_or_replaced_stays_out(project: Project, admin: Actor) -> None:
    store(an_object(), project)
    store(an_object(ImageComments="other"), project)
    assert len(packed(Session.get(), admin).namelist()) == 1
    conflicts.resolve(conflicts.list_newest()[0].id, "replace", actor=admin)
    found = packed(Session.get(), admin)
    assert len(found.namelist()) == 1
    assert b"other" in found.read(found.namelist()[0])


def test_a_download_is_one_act_of_the_audit_log(project: Project, admin: Actor) -> None:
    store(an_object(), project)
    found = zips.prepare(Session.get().id, rights.scope(admin))
    zips.record_download(Session.get().id, found, actor=admin)
    act = Audit.get(Audit.action == "session:downloaded")
    assert act.detail == {"files": 1, "bytes": Blob.get().size, "session": act.session}


def test_a_zip_with_a_damaged_file_breaks_off(project: Project, admin: Actor) -> None:
    store(an_object(), project)
    blob = Blob.get()
    with runtime.archive().path(blob.segment).open("r+b") as segment:
        segment.seek(blob.offset + blob.size - 10)
        segment.write(b"\xff\x00\xff")
    found = zips.prepare(Session.get().id, rights.scope(admin))
    with pytest.raises(Damaged):
        list(found.chunks())


def test_a_large_file_is_never_in_memory_as_a_whole(project: Project, admin: Actor) -> None:
    store(an_object(), project)
    upload(os.urandom(20 << 20), Acquisition.get().id, "large.bin", actor=admin)
    found = zips.prepare(Session.get().id, rights.scope(admin))
    assert max(len(chunk) for chunk in found.chunks()) < 3 << 20


def test_a_member_above_four_gibibytes_is_told_in_64_bits() -> None:
    """Its header comes first, before any of its bytes: signature, version 4.5, and the field of 64-bit sizes."""
    chunks = zips.stream_zip([("large.bin", NOW, 5 << 30, repeat(bytes(1)))])
    head = next(chunks)
    signature, version, flags = struct.unpack("<4sHH", head[:8])
    path_length, extra_length = struct.unpack("<HH", head[26:30])
    extra = head[30 + path_length :][:extra_length]
    assert (signature, version, flags & 8) == (b"PK\3\4", 45, 8)
    assert head[18:26] == b"\xff" * 8
    assert struct.unpack("<HH", extra[:4]) == (1, 16)


def test_more_members_than_16_bits_count_are_all_found() -> None:
    number = 0x10000 + 1
    content = b"".join(zips.stream_zip((f"{place}.txt", NOW, 1, [b"x"]) for place in range(number)))
    assert b"PK\6\6" in content[-200:]
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        assert len(found.namelist()) == number
        assert found.read(f"{number - 1}.txt") == b"x"


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_a_zip_above_four_gibibytes_is_read_whole_and_what_follows_in_it_too(tmp_path: Path) -> None:
    """Zeros are left out of the file on the disk, so that it needs next to none of it."""
    size, chunk = (4 << 30) + (5 << 20), bytes(1 << 20)
    members = [
        ("large.bin", NOW, size, repeat(chunk, size // len(chunk))),
        ("after.txt", NOW, 5, [b"after"]),
        ("large too.bin", NOW, size, repeat(chunk, size // len(chunk))),
    ]
    target = tmp_path / "large.zip"
    with target.open("wb") as kept:
        for part in zips.stream_zip(members):
            if part.strip(b"\0"):
                kept.write(part)
            else:
                kept.seek(len(part), os.SEEK_CUR)
    assert target.stat().st_blocks * 512 < 64 << 20
    with zipfile.ZipFile(target) as found:
        assert found.testzip() is None
        assert [info.file_size for info in found.infolist()] == [size, 5, size]
        assert found.infolist()[1].header_offset > 4 << 30
        assert found.read("after.txt") == b"after"


def test_a_session_without_files_has_no_zip(project: Project, admin: Actor) -> None:
    session = containers.add_session(containers.add_subject(project.id, "S", actor=admin).id, "empty", actor=admin)
    with pytest.raises(Missing, match="no files"):
        zips.prepare(session.id, rights.scope(admin))


def test_the_page_of_a_session_offers_its_zip(visitor: Visitor, reader: Visitor, admin: Actor) -> None:
    store_vendor_file("CT_small.dcm", a_project(actor=admin))
    address = f"/data/session/{Session.get().id}/zip"
    assert address in visitor.get(f"/data/session/{Session.get().id}").text
    answer = visitor.get(address)
    assert answer.mimetype == "application/zip"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert zipfile.ZipFile(io.BytesIO(answer.data)).testzip() is None
    assert reader.get(address).status_code == 404
