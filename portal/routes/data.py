"""Data: the tree from the projects down to a file, its header and its bytes."""

from flask import Blueprint
from flask import Response as FlaskResponse
from werkzeug.wrappers import Response

from portal import browse, elements, files, frames, origins, ways, zips
from portal.routes.guard import current_actor, current_scope, signed_in_required
from portal.routes.pages import Listing, listing, render, typed

bp = Blueprint("data", __name__, url_prefix="/data")

BELOW = {"project": "subject", "subject": "session", "session": "acquisition"}
PARTIALS = {
    "subject": "data/_children.html",
    "session": "data/_children.html",
    "acquisition": "data/_series.html",
}
"""The part of a container's page that holds what lies below it."""


@bp.get("/")
@signed_in_required
def projects() -> Response:
    scope = current_scope()
    found = listing(lambda search, _only, limit, skip: browse.projects(scope, search, limit, skip))
    return render("data/projects.html", partial="data/_projects.html", listing=found)


@bp.get("/<any(project, subject, session, acquisition):level>/<row:number>")
@signed_in_required
def place(level: str, number: int) -> Response:
    here = browse.place(level, number, current_scope())
    below = BELOW.get(level)
    children = listing(lambda search, _only, limit, skip: browse.children(here, search, limit, skip)) if below else None
    lying = listing(lambda search, _only, limit, skip: browse.files(here, search if not below else "", limit, skip))
    return render(
        "data/place.html",
        partial=PARTIALS.get(below or "", "data/_files.html"),
        here=here,
        below=below,
        listing=children or lying,
        lying=lying,
        ways=ways.into(level, number) if level in ("session", "acquisition") else ways.NONE,
    )


@bp.get("/file/<row:file_id>")
@signed_in_required
def file(file_id: int) -> Response:
    found = files.get(file_id, current_scope())
    here = browse.place(found.parent_type, found.parent_id, current_scope())
    objects = browse.instances(file_id)
    return render(
        "data/file.html",
        kind=frames.kind_of(objects[0]) if objects else "other",
        file=found,
        here=here,
        who=origins.name(found),
        versions=browse.versions(file_id),
        instances=objects,
    )


@bp.get("/file/<row:file_id>/header")
@signed_in_required
def header(file_id: int) -> Response:
    found = files.get(file_id, current_scope())
    here = browse.place(found.parent_type, found.parent_id, current_scope())
    whole = files.header(found)
    search = typed("q", 200)
    rows = elements.matching(whole, search)
    return render(
        "data/header.html",
        partial="data/_elements.html",
        file=found,
        here=here,
        listing=Listing(rows=rows, total=len(rows), number=1, search=search),
        cut=len(whole) >= elements.MOST_ROWS,
    )


@bp.get("/file/<row:file_id>/download")
@signed_in_required
def download(file_id: int) -> Response:
    found = files.get(file_id, current_scope())
    content, size = files.open_content(found)
    files.note_download(found, actor=current_actor())
    response = FlaskResponse(content, mimetype="application/octet-stream", direct_passthrough=True)
    response.headers.set("Content-Disposition", "attachment", filename=found.name)
    response.content_length = size
    return response


@bp.get("/session/<row:session_id>/zip")
@signed_in_required
def session_zip(session_id: int) -> Response:
    packed = zips.pack(session_id, current_scope(), actor=current_actor())
    response = FlaskResponse(packed.chunks(), mimetype="application/zip", direct_passthrough=True)
    response.headers.set("Content-Disposition", "attachment", filename=packed.name)
    return response
