"""Pictures of frames: made outside of our process, bounded, kept, and never a reason for a page to fail."""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from portal import runtime
from portal.access import rights
from portal.access.actors import Actor
from portal.models import Series
from portal.pixels import png, render_pool
from portal.pixels.render_pool import Unrenderable
from portal.settings import Settings
from portal.tree import files, frames, thumbnails
from tests.fixtures.archive import a_project, an_object, store, store_vendor_file, vendor_file
from tests.fixtures.web import Visitor
from tests.fixtures.work import add_file


@pytest.fixture(autouse=True, scope="module")
def no_renderer_is_left() -> Iterator[None]:
    yield
    render_pool.close()


def render(path: Path, frame: int = 0, side: int = 256) -> bytes:
    with path.open("rb") as content:
        return render_pool.render(content, frame=frame, side=side)


def pixels(picture: bytes) -> NDArray[Any]:
    """What a PNG of ours shows."""
    columns, rows, _, colour = struct.unpack(">IIBB", picture[16:26])
    content, at = b"", 8
    while at < len(picture):
        (length,) = struct.unpack(">I", picture[at : at + 4])
        if picture[at + 4 : at + 8] == b"IDAT":
            content += picture[at + 8 : at + 8 + length]
        at += 12 + length
    lines = np.frombuffer(zlib.decompress(content), np.uint8).reshape(rows, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape((rows, columns, 3) if colour == png.RGB else (rows, columns))


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "JPEG2000.dcm",
        "JPGExtended.dcm",
        "image_dfl.dcm",
        "examples_palette.dcm",
        "examples_ybr_color.dcm",
        "SC_rgb_rle_16bit.dcm",
        "liver_1frame.dcm",
        "emri_small.dcm",
    ],
)
def test_vendor_pixels_become_a_picture_that_is_small_and_not_blank(name: str) -> None:
    shown = pixels(render(vendor_file(name), side=128))
    assert max(shown.shape[:2]) <= 128
    assert int(shown.max()) - int(shown.min()) > 100


def test_each_encoding_of_the_same_pixels_gives_the_same_picture() -> None:
    one = render(vendor_file("MR_small.dcm"))
    for name in ("MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"):
        assert render(vendor_file(name)) == one


def test_the_window_of_the_object_is_what_is_shown(tmp_path: Path) -> None:
    ds = an_object(WindowCenter="40", WindowWidth="80")
    ds.save_as(tmp_path / "windowed.dcm")
    values = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    shown = pixels(render(tmp_path / "windowed.dcm"))
    assert (shown[values <= 0] == 0).all()
    assert (shown[values >= 80] == 255).all()


def test_monochrome1_is_shown_with_its_lowest_value_bright(tmp_path: Path) -> None:
    an_object(PhotometricInterpretation="MONOCHROME1").save_as(tmp_path / "inverse.dcm")
    plain, inverse = pixels(render(vendor_file("CT_small.dcm"))), pixels(render(tmp_path / "inverse.dcm"))
    assert np.abs(plain.astype(int) + inverse - 255).max() <= 1


@pytest.mark.parametrize(
    ("name", "frame", "message"),
    [
        ("test-SR.dcm", 0, "no picture"),
        ("rtplan.dcm", 0, "no picture"),
        ("MR_truncated.dcm", 0, "cannot be decoded"),
        ("badVR.dcm", 0, "cannot be decoded"),
        ("CT_small.dcm", 1, "has 1 frames"),
        ("CT_small.dcm", -1, "has 1 frames"),
    ],
)
def test_what_has_no_picture_says_so(name: str, frame: int, message: str) -> None:
    with pytest.raises(Unrenderable, match=message):
        render(vendor_file(name), frame)


def test_a_picture_that_is_said_to_be_huge_is_not_decoded(tmp_path: Path) -> None:
    an_object(Rows=65535, Columns=65535).save_as(tmp_path / "huge.dcm")
    with pytest.raises(Unrenderable, match="too large"):
        render(tmp_path / "huge.dcm")


def test_a_decoder_that_takes_too_long_is_killed_and_the_next_frame_is_shown() -> None:
    render_pool.close()
    with vendor_file("CT_small.dcm").open("rb") as content, pytest.raises(Unrenderable, match="took longer than 0 s"):
        render_pool.render(content, frame=0, side=256, timeout=0.001)
    assert render(vendor_file("CT_small.dcm"))


def test_a_decoder_that_has_ended_is_replaced() -> None:
    render(vendor_file("CT_small.dcm"))
    idle = render_pool._pool._idle[0]
    idle._process.kill()
    idle._process.wait()
    assert render(vendor_file("CT_small.dcm"))


def test_a_picture_is_made_once_and_what_cannot_be_shown_is_not_tried_again_at_once(
    site: Settings, admin: Actor
) -> None:
    project = a_project(actor=admin)
    shown = files.get(store_vendor_file("CT_small.dcm", project).file_id, rights.scope(admin))
    # A peer may not send it; a program may.
    truncated = add_file(project, "cut.dcm", vendor_file("MR_truncated.dcm").read_bytes(), admin)
    damaged = files.get(truncated, rights.scope(admin))
    first = thumbnails.picture(shown.blob, 0, "thumbnail")
    with pytest.raises(Unrenderable):
        thumbnails.picture(damaged.blob, 0, "thumbnail")
    render_pool.close()
    runtime.archive().path(shown.blob.segment).rename(site.data / "away")

    assert thumbnails.picture(shown.blob, 0, "thumbnail") == first
    with pytest.raises(Unrenderable, match="cannot be decoded"):
        thumbnails.picture(damaged.blob, 0, "thumbnail")


def test_the_cache_drops_the_oldest_pictures_first_by_their_bytes_and_by_their_number(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(bytes(100))
        os.utime(tmp_path / f"{number}.png", (number, number))
    assert thumbnails.sweep(tmp_path, largest=1000, most=10) == 0
    assert thumbnails.sweep(tmp_path, largest=500, most=10) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["6.png", "7.png", "8.png", "9.png"]
    assert thumbnails.sweep(tmp_path, largest=500, most=3) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["8.png", "9.png"]


def test_a_picture_that_is_written_holds_its_folder_to_the_bounds(site: Settings, admin: Actor) -> None:
    blob = files.get(store_vendor_file("MR_small.dcm", a_project(actor=admin)).file_id, rights.scope(admin)).blob
    thumbnails.picture(blob, 0, "thumbnail")
    [image] = (site.data / "cache" / "thumbnails").glob("*/*.png")
    folder = image.parent
    image.unlink()
    for number in range(thumbnails.MAX_FOLDER_FILES):
        (folder / f"{number}.txt").touch()
        os.utime(folder / f"{number}.txt", (number, number))
    thumbnails.picture(blob, 0, "thumbnail")
    kept = {path.name for path in folder.iterdir()}
    assert len(kept) == thumbnails.MAX_FOLDER_FILES * 4 // 5
    assert image.name in kept


def test_a_frame_that_does_not_exist_is_404_and_leaves_nothing_in_the_cache(
    site: Settings, visitor: Visitor, admin: Actor
) -> None:
    file_id = store_vendor_file("CT_small.dcm", a_project(actor=admin)).file_id
    for number in (2, 3, 99_999_999):
        assert visitor.get(f"/data/file/{file_id}/frame/{number}").status_code == 404
    assert not (site.data / "cache" / "thumbnails").exists()
    assert visitor.get(f"/data/file/{file_id}/frame/1").mimetype == "image/png"


def test_a_series_is_paged_frame_by_frame_across_its_objects(visitor: Visitor, admin: Actor) -> None:
    project = a_project(actor=admin)
    for number in (2, 10, 1):
        store(an_object(SOPInstanceUID=f"1.2.3.{number}", InstanceNumber=str(number)), project)
    series = Series.get()

    assert [frames.frame_of_series(series, number).instance.number for number in (1, 2, 3, 99)] == [
        "1",
        "2",
        "10",
        "10",
    ]
    page = visitor.get(f"/data/series/{series.id}?frame=2").text
    assert "<b>2</b> of 3" in page
    assert f'href="/data/series/{series.id}?frame=3"' in page
    for odd in ("0", "-1", "x", "9" * 30, "²", "4"):
        assert visitor.get(f"/data/series/{series.id}?frame={odd}").status_code == 200


def test_pictures_are_for_those_who_may_see_the_series(visitor: Visitor, reader: Visitor, admin: Actor) -> None:
    project = a_project(actor=admin)
    file_id = store_vendor_file("CT_small.dcm", project).file_id
    series = Series.get()
    addresses = (
        f"/data/series/{series.id}/thumbnail",
        f"/data/file/{file_id}/thumbnail",
        f"/data/file/{file_id}/frame/1",
    )
    for address in addresses:
        answer = visitor.get(address)
        assert answer.mimetype == "image/png"
        assert answer.data.startswith(png.SIGNATURE)
        assert reader.get(address).status_code == 404
    assert reader.get(f"/data/series/{series.id}").status_code == 404


@pytest.mark.parametrize("name", ["test-SR.dcm", "rtplan.dcm", "waveform_ecg.dcm", "MR_truncated.dcm"])
def test_where_there_is_no_picture_a_drawing_stands_in(visitor: Visitor, admin: Actor, name: str) -> None:
    file_id = add_file(a_project(actor=admin), name, vendor_file(name).read_bytes(), admin)
    answer = visitor.get(f"/data/file/{file_id}/thumbnail")
    assert (answer.status_code, answer.mimetype) == (200, "image/svg+xml")
    assert visitor.get(f"/data/series/{Series.get().id}").status_code == 200
