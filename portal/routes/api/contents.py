"""The bytes of a file: whole or a part, of the newest or an older version; and those of many files in one."""

from collections.abc import Sequence
from datetime import datetime
from mimetypes import guess_type
from typing import Any

from flask import Response as FlaskResponse
from flask import request
from werkzeug.http import http_date, is_resource_modified
from werkzeug.wrappers import Response

from portal.errors import BadValue, Conflicting
from portal.routes.api import authentication, problems
from portal.routes.api.authentication import takes_ticket
from portal.routes.api.files import ANY_KIND, FILE, by_name
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.files import (
    CONTENT,
    ContentQuery,
    DownloadAsked,
    DownloadQuery,
    DownloadTicketQuery,
    FileIdPath,
    FilePath,
    TicketShown,
    VersionQuery,
    ZipMember,
    ZipShown,
)
from portal.tree import checked_parts, downloads, file_metadata, files, rest_ids, versions, zip_contents
from portal.tree.downloads import Download, FileFilter, Node
from portal.tree.versions import Version
from portal.users import tickets
from portal.web.security_headers import attachment

bp = Noun("downloads", __name__, "The bytes of files.")


@bp.each("get", FILE, ANY_KIND, lambda _kind: CONTENT)
@takes_ticket
def download(kind: str, path: FilePath, query: ContentQuery) -> Any:
    """Download a file of one {kind}, or a part of it"""
    file, number, member = by_name(kind, path), query.version, query.member
    if query.ticket:
        target = authentication.redeem(query.ticket, "file")
        if target["file"] != file.id:
            raise BadValue("The ticket is for another file. Nothing was sent.", field="ticket")
        number, member = target["version"], target["member"]
    version = versions.newest(file) if number is None else versions.get_or_refuse(file, number)
    if query.hash is not None and query.hash != version.blob.digest:
        raise Conflicting("The file has another hash. Nothing was sent.")
    if query.ticket == "":
        target = {"file": file.id, "version": version.number, "member": member}
        secret = tickets.issue("file", target, actor=authentication.actor())
        return TicketShown(ticket=secret, filename=file.name, file_cnt=1, size=version.blob.size)
    if query.info:
        return zip_shape(version)
    return _send_member(file, version, member) if member else _send(file, version)


@bp.get("/files/<file_id>/zip_info", responses={200: ZipShown})
def show_zip(path: FileIdPath, query: VersionQuery) -> ZipShown:
    """List the members of a file that is a zip"""
    file = files.get(rest_ids.row_id(path.file_id, "file"), authentication.scope())
    number = query.version
    return zip_shape(versions.newest(file) if number is None else versions.get_or_refuse(file, number))


@bp.post("/download", responses={200: TicketShown})
def ask(body: DownloadAsked, query: DownloadTicketQuery) -> TicketShown:
    """Ask for a ticket to download the files of containers"""
    nodes = [[node.level, rest_ids.row_id(node.id, node.level)] for node in body.nodes if _known(node.level)]
    target = {
        "nodes": nodes,
        "filters": [FileFilter.parse(one).to_json() for one in body.filters or []],
        "prefix": query.prefix,
        "optional": bool(body.optional),
    }
    number, size = _prepared(target).measure()
    secret = tickets.issue("containers", target, actor=authentication.actor())
    return TicketShown(ticket=secret, filename=_filename(target, "tar"), file_cnt=number, size=size)


@bp.get("/download", responses={200: CONTENT})
@takes_ticket
def fetch(query: DownloadQuery) -> Response:
    """Download what a ticket is for, as tar or zip"""
    target = authentication.redeem(query.ticket, "containers")
    found = _prepared(target)
    if request.method == "GET":
        downloads.record(found, query.format, actor=authentication.actor())
    kind = "application/zip" if query.format == "zip" else "application/x-tar"
    response = FlaskResponse(downloads.pack(found, query.format), mimetype=kind, direct_passthrough=True)
    response.headers["Content-Disposition"] = attachment(_filename(target, query.format))
    return response


def _send(file: Any, version: Version) -> Response:
    blob, modified = version.blob, version.created
    kind = file.mimetype if file_metadata.is_media_type(file.mimetype or "") else "application/octet-stream"
    # With parameters it is complete; without, a text gets its charset.
    response = FlaskResponse(mimetype=kind, content_type=kind if ";" in kind else None, direct_passthrough=True)
    response.headers["Content-Disposition"] = attachment(file.name)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Accept-Ranges"] = "bytes"
    response.set_etag(blob.digest)
    response.last_modified = modified
    if not is_resource_modified(request.environ, etag=blob.digest, last_modified=modified):
        response.status_code = 304
        return response
    begin, end = 0, blob.size
    if request.range is not None and request.range.units == "bytes" and _is_current(blob.digest, modified):
        # Several ranges at once are answered with the whole, as RFC 9110 14.2 allows.
        begin, end = _part(request.range.ranges, blob.size)
        if begin >= end:
            refusal = problems.answer(416, f"The file has {blob.size:,} bytes, and none in this range.")
            refusal.headers["Content-Range"] = f"bytes */{blob.size}"
            return refusal
    response.content_length = end - begin
    is_part = (begin, end) != (0, blob.size)
    if is_part:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {begin}-{end - 1}/{blob.size}"
    if request.method == "GET":  # HEAD downloads nothing
        response.response = checked_parts.open(blob, begin, end) if is_part else files.open_blob(blob)[0]
        files.record_download(file, version=version.number, actor=authentication.actor())
    return response


def _part(ranges: Sequence[tuple[int, int | None]], size: int) -> tuple[int, int]:
    """The range of bytes that is asked for, cut to the size (RFC 9110 14.1.2); of several ranges, all bytes."""
    if len(ranges) != 1:
        return 0, size
    [(begin, end)] = ranges
    return (max(0, size + begin), size) if begin < 0 else (begin, min(size, size if end is None else end))


def _send_member(file: Any, version: Version, path: str) -> Response:
    """One member of a zip, by the kind that its name has."""
    name = path.rsplit("/", 1)[-1]
    response = FlaskResponse(mimetype=guess_type(name)[0] or "application/octet-stream", direct_passthrough=True)
    response.headers["Content-Disposition"] = attachment(name)
    response.headers["X-Content-Type-Options"] = "nosniff"
    content, response.content_length = zip_contents.open_member(version.blob, path)
    if request.method == "GET":
        response.response = content
        files.record_download(file, version=version.number, actor=authentication.actor())
    return response


def zip_shape(version: Version) -> ZipShown:
    """The members of a zip."""
    members = zip_contents.list_members(version.blob)
    shown = [ZipMember(path=one.name, size=one.size, timestamp=one.modified, comment="") for one in members]
    return ZipShown(comment="", members=shown)


def _is_current(digest: str, modified: datetime) -> bool:
    """Whether a part may be sent: not where the client has the beginning of something else (RFC 9110 13.1.5)."""
    condition = request.if_range
    if condition.etag is not None:
        return bool(condition.etag == digest)
    return condition.date is None or http_date(condition.date) == http_date(modified)


def _known(level: str) -> bool:
    """Raises BadValue for a level that has no files."""
    if level not in downloads.LEVELS:
        raise BadValue(f"There are downloads of {', '.join(downloads.LEVELS)}, not of {level[:32]!r}.", field="nodes")
    return True


def _prepared(target: dict[str, Any]) -> Download:
    nodes = [Node(*node) for node in target["nodes"]]
    filters = [FileFilter.parse(one) for one in target["filters"]]
    optional, scope = target["optional"], authentication.scope()
    return downloads.prepare(nodes, filters, prefix=target["prefix"], optional=optional, scope=scope)


def _filename(target: dict[str, Any], form: str) -> str:
    return f"{target['prefix'].replace('/', '_') or 'download'}.{form}"
