"""Data: the tree from the projects down to a file, its header and its bytes."""

from flask import Blueprint, request
from flask import Response as FlaskResponse
from werkzeug.wrappers import Response

from portal import listing
from portal.access import origins, rights, session_readers
from portal.dicom import elements
from portal.errors import Missing
from portal.trash import trash
from portal.tree import container_page, file_sources, files, frames, zips
from portal.tree import lists as tree_lists
from portal.tree.container_page import ContainerPage
from portal.web.render import Listing, as_csv, list_page, query_value, render, wants_csv
from portal.web.security_headers import attachment
from portal.web.sign_in import current_actor, current_scope, is_admin, signed_in_required

bp = Blueprint("data", __name__, url_prefix="/data")

CHILD_LEVEL = {"project": "subject", "subject": "session", "session": "acquisition"}
PARTIALS = {
    "subject": "data/_children.html",
    "session": "data/_children.html",
    "acquisition": "data/_series.html",
}
"""The part of a container's page that lists its children."""


@bp.get("/")
@signed_in_required
def projects() -> Response:
    whole = tree_lists.projects(current_scope())
    if wants_csv():
        return as_csv(whole, "projects")
    may_create = is_admin() or bool(rights.administered_groups(current_actor()))
    return render("data/projects.html", partial="data/_projects.html", listing=list_page(whole), may_create=may_create)


@bp.get("/<any(project, subject, session, acquisition):level>/<row:number>")
@signed_in_required
def place(level: str, number: int) -> Response:
    here = container_page.get(level, number, current_scope())
    _record_view(here)
    below = CHILD_LEVEL.get(level)
    if below is None:
        return _files(here)
    children = tree_lists.children(here)
    if wants_csv():
        return as_csv(children, f"{below}s")
    came = file_sources.for_container(level, number) if level == "session" else file_sources.NO_SOURCES
    return render(
        "data/place.html",
        partial=PARTIALS[below],
        here=here,
        below=below,
        listing=list_page(children),
        beside=came.beside if level == "session" else listing.count_rows(tree_lists.files(here)),
        ways=came,
        may_delete=_may_delete(here),
    )


@bp.get("/<any(project, subject, session):level>/<row:number>/files")
@signed_in_required
def direct_files(level: str, number: int) -> Response:
    """The files that are attached to the container itself, not to its children."""
    here = container_page.get(level, number, current_scope())
    _record_view(here)
    return _files(here)


@bp.get("/file/<row:file_id>")
@signed_in_required
def file(file_id: int) -> Response:
    found = files.get(file_id, current_scope())
    here = container_page.get(found.parent_type, found.parent_id, current_scope())
    _record_view(here)
    objects = container_page.instances(file_id)
    return render(
        "data/file.html",
        kind=frames.kind_of(objects[0]) if objects else "other",
        file=found,
        here=here,
        who=origins.name(found),
        versions=container_page.older_versions(found),
        instances=objects,
        n_instances=container_page.count_instances(file_id) if len(objects) > 1 else len(objects),
        may_delete=_may_delete(here, file_id),
    )


@bp.get("/file/<row:file_id>/header")
@bp.get("/file/<row:file_id>/instance/<row:instance_id>/header", endpoint="member_header")
@signed_in_required
def header(file_id: int, instance_id: int | None = None) -> Response:
    found = files.get(file_id, current_scope())
    here = container_page.get(found.parent_type, found.parent_id, current_scope())
    _record_view(here)
    member = "" if instance_id is None else files.member_of(found, instance_id)
    whole = files.header_elements(found, member)
    search = query_value("q", 200)
    rows = elements.matching(whole, search)
    return render(
        "data/header.html",
        partial="data/_elements.html",
        file=found,
        name=member or found.name,
        here=here,
        listing=Listing(rows=rows, total=len(rows), number=1, search=search),
        cut=len(whole) >= elements.MAX_ROWS,
    )


@bp.get("/file/<row:file_id>/download")
@signed_in_required
def download(file_id: int) -> Response:
    found = files.get(file_id, current_scope())
    version, text = int(found.version), request.args.get("version")
    if text is not None:
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise Missing(f"The file has no version {text[:20]!r}.")
        version = int(text)

    content, size = files.open_blob(files.blob_of_version(found, version))
    if request.method == "GET":  # HEAD downloads nothing
        files.record_download(found, version=version, actor=current_actor())
    response = FlaskResponse(content, mimetype="application/octet-stream", direct_passthrough=True)
    response.headers["Content-Disposition"] = attachment(found.name)
    response.content_length = size
    return response


@bp.get("/session/<row:session_id>/zip")
@signed_in_required
def session_zip(session_id: int) -> Response:
    packed = zips.prepare(session_id, current_scope())
    if request.method == "GET":
        zips.record_download(session_id, packed, actor=current_actor())
    response = FlaskResponse(packed.chunks(), mimetype="application/zip", direct_passthrough=True)
    response.headers["Content-Disposition"] = attachment(packed.name)
    return response


@bp.get("/session/<row:session_id>/readers")
@signed_in_required
def readers(session_id: int) -> Response:
    here = container_page.get("session", session_id, current_scope())
    ways = tuple(session_readers.WAYS.items())
    if not current_scope().writes(here.steps[0].id):  # docs/decisions/0098: names are for who may write
        return render("data/readers_in_numbers.html", here=here, ways=ways, found=session_readers.counts(session_id))
    whole = session_readers.of_session(session_id)
    if wants_csv():
        return as_csv(whole, "readers")
    return render("data/readers.html", partial="data/_readers.html", here=here, ways=ways, listing=list_page(whole))


def _may_delete(here: ContainerPage, file_id: int | None = None) -> bool:
    """Whether the container, or a file in it, may be moved to the trash by the signed-in user."""
    if here.level == "project" and file_id is None:
        return False
    kind, number = (here.level, here.id) if file_id is None else ("file", file_id)
    return trash.is_movable(kind, number, here.steps[0].id, actor=current_actor(), scope=current_scope())


def _files(here: ContainerPage) -> Response:
    whole = tree_lists.files(here)
    if wants_csv():
        return as_csv(whole, "files")
    return render(
        "data/files.html" if here.level in CHILD_LEVEL else "data/place.html",
        partial="data/_files.html",
        here=here,
        below=None,
        beside=0,
        listing=list_page(whole),
        ways=file_sources.for_container(here.level, here.id)
        if here.level == "acquisition"
        else file_sources.NO_SOURCES,
        may_delete=here.level == "acquisition" and _may_delete(here),
    )


def _record_view(here: ContainerPage) -> None:
    if request.method == "GET":  # HEAD shows nothing
        container_page.record_view(here, actor=current_actor())
