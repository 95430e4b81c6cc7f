"""A segment that is gone, cut off or damaged is named wherever somebody looks, until it is as it was."""

import os
import shutil
from pathlib import Path

import pytest

from portal import runtime, segment_checks, settings
from portal.access.actors import Actor
from portal.dashboard import alerts
from portal.maintenance import quarantine, recovery, reindex
from portal.models import Blob, File, FileVersion, Project, SegmentProblem
from portal.models import archive as archive_rows
from portal.processes import health
from tests.fixtures.archive import a_project, an_object, store
from tests.fixtures.cli import Portal
from tests.fixtures.web import Visitor, text_of


@pytest.fixture
def project(site: settings.Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def segments(project: Project) -> list[Path]:
    """Three closed segments, the second of three objects."""
    for number in range(5):
        store(an_object(SOPInstanceUID=f"1.2.3.{number}"), project)
        if number in (0, 3):
            runtime.archive().close()
    runtime.archive().close()
    names = [row.segment for row in Blob.select().order_by(Blob.id)]
    assert [names.count(name) for name in dict.fromkeys(names)] == [1, 3, 1]
    return [runtime.archive().path(name) for name in dict.fromkeys(names)]


def told() -> list[str]:
    return [problem.message for problem in segment_checks.check_all()]


def test_a_whole_archive_has_no_problems(segments: list[Path]) -> None:
    recovery.recover()
    assert told() == []
    assert reindex.run().missing == []
    assert alerts.list_all() == []


def test_a_segment_that_is_gone_is_named_until_it_is_back(segments: list[Path], tmp_path: Path) -> None:
    recovery.recover()
    kept = shutil.move(segments[1], tmp_path)
    expected = f"archive/{segments[1].name} is missing: 3 files are affected. Restore it from a backup."
    assert told() == [expected]
    assert health.report()["segments"]["problem"] == expected
    assert [(need.kind, need.message, need.urgent) for need in alerts.list_all()] == [
        ("segments", "1 segment of the archive is missing, truncated or damaged", True)
    ]
    found = SegmentProblem.get().found

    report = reindex.run()

    assert [(one["segment"], one["files"], one["message"]) for one in report.missing] == [
        (segments[1].name, 3, expected)
    ]
    assert sorted(place["name"] for place in report.damaged) == ["1.2.3.1.dcm", "1.2.3.2.dcm", "1.2.3.3.dcm"]
    assert SegmentProblem.get(SegmentProblem.kind == "gone").found == found

    shutil.move(kept, segments[1])
    assert told() == []
    assert reindex.run().damaged == []
    assert health.report()["segments"]["problem"] == ""
    assert alerts.list_all() == []


def test_a_segment_that_is_cut_off_is_named_with_each_file_that_it_lacks(segments: list[Path]) -> None:
    second = File.get(File.name == "1.2.3.2.dcm").blob
    recovery.recover()
    os.truncate(segments[1], second.offset + second.size - 1)
    expected = f"is truncated at byte {second.offset + second.size - 1:,}: 2 files are affected."
    assert expected in told()[0]
    report = reindex.run()
    assert sorted(place["name"] for place in report.damaged) == ["1.2.3.2.dcm", "1.2.3.3.dcm"]
    assert [one["files"] for one in report.missing] == [2]


def test_a_segment_whose_last_footer_is_cut_off_is_too_short(segments: list[Path]) -> None:
    recovery.recover()
    os.truncate(segments[2], segments[2].stat().st_size - 1)
    assert told() == [
        f"archive/{segments[2].name} is truncated: its last record is incomplete. Restore it from a backup."
    ]


def test_what_reindex_finds_damaged_stands_in_status_until_it_is_whole(segments: list[Path]) -> None:
    good = segments[0].read_bytes()
    segments[0].write_bytes(good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])
    reindex.run()
    assert "1 place is damaged" in health.report()["segments"]["problem"]
    segment_checks.check_all()
    assert "1 place is damaged" in health.report()["segments"]["problem"]
    segments[0].write_bytes(good)
    reindex.run()
    assert health.report()["segments"]["problem"] == ""


def test_sizes_are_found_by_look_ups_alone_however_many_records_there_are(segments: list[Path]) -> None:
    page = archive_rows.minimum_sizes("", 2)
    assert [name for name, _ in page] == sorted(path.name for path in segments)[:2]
    assert archive_rows.minimum_sizes(sorted(path.name for path in segments)[-1], 2) == []


def test_the_command_line_names_what_is_gone_and_saves_what_is_quarantined(
    site: settings.Settings, segments: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    portal = Portal(site.data, capsys)
    runtime.archive().append([b"what it is"], {"name": "odd.bin"})
    runtime.archive().close()
    recovery.recover()
    (listed,) = portal.ok("archive", "quarantined")
    target = tmp_path / "odd.bin"
    portal.ok("archive", "save", str(listed["id"]), str(target))
    assert target.read_bytes() == b"what it is"
    assert portal("archive", "save", str(listed["id"]), str(target)).code == 1
    segments[0].unlink()
    ended = portal("reindex")
    assert ended.code == 1
    assert "is missing: 1 file is affected" in ended.err


def test_an_admin_is_led_to_what_cannot_be_indexed_and_gets_its_bytes(
    segments: list[Path], visitor: Visitor, reader: Visitor
) -> None:
    runtime.archive().append([b"what it is"], {"name": "odd <b>.bin"})
    runtime.archive().close()
    recovery.recover()
    segments[0].unlink()
    segment_checks.check_all()
    (row,) = quarantine.list_all()
    page = text_of(visitor.get("/disk/problems").text)
    assert "1 received object cannot be indexed" in page
    assert "is missing: 1 file is affected" in page
    assert "odd <b>.bin" in text_of(visitor.get("/disk/problems").text)
    assert visitor.get(f"/disk/records/{row.id}/download").data == b"what it is"
    assert reader.get(f"/disk/records/{row.id}/download").status_code == 403
    visitor.post(f"/disk/records/{row.id}/note")
    assert "1 object was received" not in text_of(visitor.get("/disk/").text)
    assert FileVersion.select().count() == 0
