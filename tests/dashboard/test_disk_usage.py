"""How full the disk is, what fills it, when it will be full, and what Home says of it."""

import os
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask

from portal import runtime
from portal.access.actors import Actor
from portal.archive import ballast
from portal.dashboard import disk_usage, overview
from portal.dashboard.disk_usage import DiskSpace, Forecast
from portal.errors import NoSpace
from portal.ingest import disk_reserve
from portal.models import Acquisition, DiskDay, Session, Total, now
from portal.settings import Settings
from portal.trash import trash
from tests.fixtures.archive import a_project, an_object, store, upload
from tests.fixtures.web import HTMX, MOST_STATEMENTS, Visitor, statements, text_of
from tests.routes.test_lists import table_in

MOMENT = datetime(2026, 11, 24, 12, tzinfo=UTC)
GB = 10**9
ROOM = DiskSpace(total=1000 * GB, free=410 * GB, floor=10 * GB)


def grown(days: int, a_day: int, *, wobble: int = 0) -> list[tuple[datetime, int]]:
    """Bytes in use on each of some days up to the moment."""
    return [
        (MOMENT - timedelta(days=back), ROOM.used - back * a_day + (wobble if back % 2 else -wobble))
        for back in range(days, -1, -1)
    ]


def a_day_ago(days: int, used: int) -> None:
    at = now() - timedelta(days=days)
    DiskDay.create(
        day=f"{at:%Y-%m-%d}", at=at, total=1000 * GB, free=1000 * GB - used, segments=used // 2, database=GB, rest=GB
    )


@pytest.mark.parametrize(
    ("known", "here", "found"),
    [
        (grown(30, 4 * GB), ROOM, Forecast(kind="date", a_day=4 * GB, moment=MOMENT + timedelta(days=100), known=30)),
        (grown(6, 4 * GB), ROOM, Forecast(kind="short", known=6)),
        (grown(0, 0), ROOM, Forecast(kind="short", known=0)),
        (grown(30, 0), ROOM, Forecast(kind="still", known=30)),
        (grown(30, -GB), ROOM, Forecast(kind="still", known=30)),
        (grown(30, 10**6), ROOM, Forecast(kind="far", a_day=10**6, known=30)),
        (grown(30, 4 * GB), replace(ROOM, free=10 * GB), Forecast(kind="full", known=30)),
        (grown(0, 0), replace(ROOM, free=0), Forecast(kind="full", known=0)),
    ],
)
def test_the_forecast_is_a_straight_line_to_the_floor_or_says_why_there_is_none(
    known: list[tuple[datetime, int]], here: DiskSpace, found: Forecast
) -> None:
    assert disk_usage.forecast(known, here, MOMENT) == found


def test_days_that_are_missing_or_wobble_move_the_forecast_little_and_never_into_the_past() -> None:
    known = [one for number, one in enumerate(grown(30, 4 * GB, wobble=GB)) if number % 3]
    found = disk_usage.forecast(known, ROOM, MOMENT)
    assert found.moment is not None
    assert timedelta(days=90) < found.moment - MOMENT < timedelta(days=110)

    nearly = disk_usage.forecast(known, replace(ROOM, free=ROOM.floor + 1), MOMENT)
    assert nearly.moment is not None
    assert nearly.moment >= MOMENT


def test_each_day_is_looked_at_once_in_a_while_and_kept_for_400_days(
    site: Settings, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(an_object(), a_project(actor=admin))
    (site.data / "logs").mkdir()
    (site.data / "logs" / "web.log").write_bytes(b"x" * 50_000)
    (site.data / "logs" / "outside").symlink_to(Path(os.devnull).parent)
    a_day_ago(401, 0)

    assert disk_usage.take_sample() is True
    assert disk_usage.take_sample() is False
    only = DiskDay.get()
    assert 0 < only.free < only.total
    assert only.segments >= 30_000
    assert only.database > 100_000
    assert 50_000 <= only.rest < 200_000

    monkeypatch.setattr(disk_usage, "now", lambda: now() + timedelta(days=1))
    assert disk_usage.take_sample() is True
    assert DiskDay.select().count() == 2


@pytest.mark.parametrize(
    ("segments", "rest", "seconds"),
    [(0, 0, 10), (disk_usage.SMALL_SITE_BYTES, 0, 600), (1, disk_usage.SMALL_SITE_BYTES, 600)],
)
def test_a_small_site_is_looked_at_every_few_seconds(
    site: Settings, monkeypatch: pytest.MonkeyPatch, segments: int, rest: int, seconds: int
) -> None:
    disk_usage.take_sample()
    DiskDay.update(segments=segments, rest=rest).execute()
    last = DiskDay.get().at

    monkeypatch.setattr(disk_usage, "now", lambda: last + timedelta(seconds=seconds - 1))
    assert disk_usage.take_sample() is False
    monkeypatch.setattr(disk_usage, "now", lambda: last + timedelta(seconds=seconds))
    assert disk_usage.take_sample() is True


def test_a_folder_that_is_gone_counts_nothing(site: Settings) -> None:
    site.archive.rmdir()
    site.archive.symlink_to(site.data)
    assert disk_usage.take_sample() is True


def test_home_says_how_full_the_disk_is_and_leads_to_what_fills_it(visitor: Visitor) -> None:
    page = visitor.get("/").text
    assert "A forecast needs 7 days of history; 0 days so far." in text_of(page)
    assert 'href="/disk/"' in page

    here = disk_usage.disk_space()
    for back in range(20, 0, -1):
        a_day_ago(back, here.used - back * here.left // 100)
    page = text_of(visitor.get("/").text)
    assert "Full on about" in page
    assert "if it keeps growing by" in page
    assert "Uploads and C-STORE stop when it is full." in page


def test_below_its_floor_the_disk_is_full_and_the_strip_leads_to_what_fills_it(
    visitor: Visitor, site: Settings
) -> None:
    runtime.start(replace(site, min_free=disk_usage.disk_space().free * 2))

    page = visitor.get("/").text
    assert "Full down to the" in text_of(page)
    assert "below the reserve" in text_of(page)
    assert '<a href="/disk/" class="urgent">' in page


def test_what_fills_the_disk_has_its_days_its_projects_its_trash_and_who_wrote(visitor: Visitor, admin: Actor) -> None:
    small, large = a_project("small", actor=admin), a_project("large", actor=admin)
    store(an_object(SOPInstanceUID="1.2.3"), small)
    for number in range(3):
        store(an_object(SOPInstanceUID=f"1.2.4.{number}", StudyInstanceUID="1.2.4"), large)
    upload(b"notes", Acquisition.get().id, "notes.txt", actor=admin)
    trash.move_to_trash("session", Session.select().order_by(Session.id).first().id, actor=admin)
    a_day_ago(3, GB)
    disk_usage.take_sample()

    with statements() as sent:
        page = visitor.get("/disk/").text
    assert len(sent) <= MOST_STATEMENTS, sent
    said = text_of(page)
    assert page.index("neuro/large") < page.index("neuro/small")
    assert "in 2 files, which can be restored" in said
    assert "Of the latest 5 files" in said
    assert "Disk usage by day the last 14 days" in said
    assert said.count("999 GB") == 1
    assert page.count('class="stub"') == 12

    assert [row[0] for row in table_in(visitor.get("/disk/?format=csv"))[1:]] == ["neuro/large", "neuro/small"]
    part = visitor.get("/disk/?q=small", headers=HTMX).text
    assert "1 project found" in text_of(part)
    assert "neuro/large" not in part


def test_only_a_site_admin_sees_what_fills_the_disk(reader: Visitor) -> None:
    assert reader.get("/disk/").status_code == 403


def test_a_large_site_is_counted_before_it_is_shown(visitor: Visitor, admin: Actor) -> None:
    project = a_project(actor=admin)
    for number in range(3):
        store(an_object(SOPInstanceUID=f"1.2.{number}"), project)
    live = overview.get()
    assert (live.studies, live.instances, live.files, live.counted) == (1, 3, 3, None)
    assert overview.refresh() is False

    assert overview.get(at_once=2).files is None
    assert overview.refresh(at_once=2) is True
    assert overview.refresh(at_once=2) is False
    found = overview.get(at_once=2)
    assert (found.studies, found.instances, found.files) == (1, 3, 3)
    assert found.counted is not None

    trash.move_to_trash("session", Session.get().id, actor=admin)
    Total.update(counted=now() - overview.COUNT_INTERVAL).execute()
    assert overview.refresh(at_once=2) is True
    found = overview.get(at_once=2)
    assert (found.studies, found.instances, found.files) == (0, 0, 0)


def test_a_part_that_is_empty_leaves_the_others_their_looks(app: Flask) -> None:
    drawn = app.jinja_env.globals["columns"]([(0, 5), ()], 10, "in words")
    assert [found for found in ("part-1", "part-2", "stub") if f'class="{found}"' in drawn] == ["part-2", "stub"]


def test_a_ballast_that_was_given_up_is_said_above_each_page_until_it_is_whole(
    visitor: Visitor, site: Settings
) -> None:
    said = "The disk is full, and"
    assert said not in visitor.get("/").text
    ballast.refill(site)
    assert ballast.state(site).left == ballast.FULL_SIZE
    assert said not in visitor.get("/").text
    os.truncate(site.ballast, ballast.FULL_SIZE - ballast.PIECE_SIZE)
    assert f"{said} 59 MB are left of the ballast" in text_of(visitor.get("/").text)
    with pytest.raises(NoSpace, match="The disk is full: uploads and C-STORE are refused"):
        disk_reserve.check()
    ballast.refill(site)
    assert said not in visitor.get("/").text
    disk_reserve.check()


def test_no_ballast_is_given_up_while_there_is_room(site: Settings) -> None:
    ballast.refill(site)
    ballast.give_up_piece(site)
    assert site.ballast.stat().st_blocks * 512 >= ballast.FULL_SIZE
    assert site.ballast.stat().st_mode & 0o777 == 0o600


def test_each_disk_that_the_site_writes_to_is_named_once(site: Settings, tmp_path: Path) -> None:
    (site.data / "logs").mkdir()
    assert [disk.holds for disk in disk_reserve.disks()] == [("archive", "database", "logs", "run")]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (site.data / "cache").symlink_to(other)
        here, there = disk_reserve.disks()
    assert (here.holds, there.holds) == (("archive", "database", "logs", "run"), ("cache",))
    assert there.room.floor <= there.total // disk_reserve.RESERVE_DIVISOR
