"""/api/{container}/{id}/files: the files of a container, and their bytes."""

from typing import Any

from flask import Response as FlaskResponse
from flask import request
from werkzeug.wrappers import Response

from portal.routes.api import answers, authentication
from portal.routes.api.ancestry import KINDS
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.containers import ContainerPath
from portal.routes.api.schemas.files import CONTENT, FilePath, FileShown, ParentRef, VersionQuery
from portal.routes.api.schemas.lists import Listed, ListQuery
from portal.tree import files, rest_ids
from portal.tree.containers import Kind
from portal.web.security_headers import attachment

bp = Noun("files", __name__, "The files of a container, and their bytes.")


@bp.each("get", "/{noun}/<container_id>/files", KINDS, lambda _kind: Listed[FileShown])
def list_all(kind: Kind, path: ContainerPath, query: ListQuery) -> Response:
    """List the files of one {kind}"""
    row_id, page = rest_ids.row_id(path.container_id, kind), answers.page(query, "file", "name")
    return answers.listed(files.list_directly_in(kind, row_id, authentication.scope(), page), shape)


@bp.each("get", "/{noun}/<container_id>/files/<name>", KINDS, lambda _kind: CONTENT)
def download(kind: Kind, path: FilePath, query: VersionQuery) -> Response:
    """Download a file of one {kind}"""
    file = files.get_by_name(kind, rest_ids.row_id(path.container_id, kind), path.name, authentication.scope())
    version = query.version or file.version
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


def shape(row: Any) -> FileShown:
    """A file; `hash` is the SHA-256 of its bytes in hex."""
    return FileShown(
        id=rest_ids.encode("file", row.id),
        file_id=rest_ids.encode("file", row.id),
        name=row.name,
        version=row.version,
        size=row.blob.size,
        hash=row.blob.digest,
        mimetype=row.mimetype,
        type=row.type,
        created=row.created,
        modified=row.modified,
        origin=answers.origin(row),
        parent_ref=ParentRef(type=row.parent_type, id=rest_ids.encode(row.parent_type, row.parent_id)),
    )
