"""/api/{container}/{id}/files: the files of a container, and their bytes."""

from typing import Any

from flask import Blueprint, request
from flask import Response as FlaskResponse
from werkzeug.wrappers import Response

from portal.routes.api import answers, authentication, queries
from portal.routes.api.containers import ANY_KIND, KINDS
from portal.tree import files, rest_ids
from portal.web.security_headers import attachment

bp = Blueprint("files", __name__)


@bp.get(f"/<{ANY_KIND}:nouns>/<container_id>/files")
@queries.accepts(*queries.LIST_PARAMETERS)
def list_all(nouns: str, container_id: str) -> Response:
    kind = KINDS[nouns]
    page = answers.page("file", "name")
    return answers.listed(
        files.list_directly_in(kind, rest_ids.row_id(container_id, kind), authentication.scope(), page), shape
    )


@bp.get(f"/<{ANY_KIND}:nouns>/<container_id>/files/<name>")
@queries.accepts("version")
def download(nouns: str, container_id: str, name: str) -> Response:
    kind = KINDS[nouns]
    file = files.get_by_name(kind, rest_ids.row_id(container_id, kind), name, authentication.scope())
    version = answers.number("version", 1, files.MAX_VERSION_NUMBER) or file.version
    blob = files.blob_of_version(file, version)
    content, size = files.open_blob(blob)
    if request.method == "GET":
        files.record_download(file, version=version, actor=authentication.actor())
    response = FlaskResponse(content, mimetype=file.mimetype or "application/octet-stream", direct_passthrough=True)
    response.headers["Content-Disposition"] = attachment(file.name)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.content_length = size
    response.set_etag(blob.digest)
    return response


def shape(row: Any) -> dict[str, Any]:
    """A file; `hash` is the SHA-256 of its bytes in hex."""
    return {
        "_id": rest_ids.encode("file", row.id),
        "file_id": rest_ids.encode("file", row.id),
        "name": row.name,
        "version": row.version,
        "size": row.blob.size,
        "hash": row.blob.digest,
        "mimetype": row.mimetype,
        "type": row.type,
        "created": answers.moment(row.created),
        "modified": answers.moment(row.modified),
        "origin": answers.origin(row),
        "parent_ref": {"type": row.parent_type, "id": rest_ids.encode(row.parent_type, row.parent_id)},
    }
