"""Images of the data: of one frame, and thumbnails; a drawing with the reason where there is no image."""

from collections.abc import Callable

from flask import Blueprint, render_template, request
from flask import Response as FlaskResponse
from werkzeug.wrappers import Response

from portal.access import readings
from portal.errors import Busy, Damaged, Missing, PortalError
from portal.tree import container_page, files, frames, thumbnails
from portal.tree.frames import Frame
from portal.tree.thumbnails import Size
from portal.web.render import query_row, render
from portal.web.sign_in import current_actor, current_scope, signed_in_required

bp = Blueprint("frames", __name__, url_prefix="/data")


@bp.get("/series/<row:series_id>")
@signed_in_required
def series(series_id: int) -> Response:
    row = frames.get_series(series_id, current_scope())
    text = request.args.get("frame", "1")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 1
    spot = frames.frame_of_series(row, number)
    here = container_page.get(spot.file.parent_type, spot.file.parent_id, current_scope())
    if request.method == "GET":  # HEAD shows nothing
        container_page.record_view(here, actor=current_actor())
    return render("data/series.html", partial="data/_frame.html", series=row, spot=spot, here=here)


@bp.get("/series/<row:series_id>/thumbnail")
@signed_in_required
def series_thumbnail(series_id: int) -> Response:
    row = frames.get_series(series_id, current_scope())
    return _picture(lambda: frames.middle_frame(row), "thumbnail")


@bp.get("/file/<row:file_id>/thumbnail")
@signed_in_required
def file_thumbnail(file_id: int) -> Response:
    file = files.get(file_id, current_scope())
    return _picture(lambda: frames.frame_of_file(file, instance_id=query_row("instance")), "thumbnail")


@bp.get("/file/<row:file_id>/frame/<row:number>")
@signed_in_required
def frame(file_id: int, number: int) -> Response:
    file = files.get(file_id, current_scope())
    instance_id = query_row("instance")
    return _picture(lambda: frames.frame_of_file(file, number - 1, instance_id=instance_id), "frame")


def _picture(find: Callable[[], Frame], size: Size) -> Response:
    """The image as PNG; else a drawing with the reason, so that the page around it still works."""
    try:
        spot = find()
        if spot.kind != "picture":
            return _drawing(spot.kind, "")
        if request.method == "GET":
            readings.record_image_view(current_actor(), spot.file)
        png = thumbnails.picture(spot.file.blob, spot.frame, size, instance=spot.instance)
        return FlaskResponse(png, mimetype="image/png")
    except Missing:
        raise
    except (Busy, Damaged) as error:
        return _drawing("busy" if isinstance(error, Busy) else "broken", error.message)
    except PortalError as error:
        return _drawing("broken", error.message)


def _drawing(kind: str, message: str) -> Response:
    text = render_template("data/drawing.svg", kind=kind, message=message)
    return FlaskResponse(text, mimetype="image/svg+xml")
