"""Uploads: files to a container, or to the containers that their metadata names; the same ingest as C-STORE."""

import json
from typing import Any

from portal import runtime, site_settings
from portal.errors import BadValue, Conflicting
from portal.ingest import sent_hierarchy
from portal.ingest.placement import Placement
from portal.ingest.register import Stored
from portal.ingest.uploads import Upload
from portal.routes.api import authentication, multipart
from portal.routes.api.files import ANY_KIND, container, fields
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.containers import ContainerPath
from portal.routes.api.schemas.files import (
    UPLOAD_BODY,
    FileVersionId,
    Placed,
    PlacedFile,
    PlacedUploadQuery,
    StorageFile,
    StorageQuery,
    Uploaded,
    UploadedFile,
    UploadQuery,
)
from portal.tree import file_metadata, files, rest_ids
from portal.tree.file_metadata import FileMetadata

bp = Noun("uploads", __name__, "Uploads, streamed through the same ingest as C-STORE.")

HOLD_HINT = "Or upload it with ?on_conflict=hold: it is then held, hidden from peers, until a site admin decides."


@bp.each("post", "/{noun}/<container_id>/files", ANY_KIND, lambda _kind: Uploaded, openapi_extensions=UPLOAD_BODY)
def upload(kind: str, path: ContainerPath, query: UploadQuery) -> Uploaded:
    """Upload files to one {kind}

    Parts with a file name are the files. A part `metadata` without one has what is said of them as JSON: an object, or
    a list of objects with the name of a file each.
    """
    place = container(kind, path.container_id)
    with _receiving(Placement(container_type=place[0], container_id=place[1]), query) as upload:  # type: ignore[arg-type]
        said = _receive(upload)
        stored = _commit(upload, query, _each(said))
    return Uploaded([UploadedFile(**fields(row), **told) for row, told in stored])


@bp.post("/upload/reaper", responses={200: Placed}, openapi_extensions=UPLOAD_BODY)
def upload_by_reaper(query: PlacedUploadQuery) -> Placed:
    """Upload files to where the UIDs of their metadata are, or else to the project that is named, or to Unsorted"""
    return _placed("reaper", query)


@bp.post("/upload/label", responses={200: Placed}, openapi_extensions=UPLOAD_BODY)
def upload_by_label(query: PlacedUploadQuery) -> Placed:
    """Upload files to the containers with the labels of their metadata"""
    return _placed("label", query)


@bp.post("/upload/uid", responses={200: Placed}, openapi_extensions=UPLOAD_BODY)
def upload_by_uid(query: PlacedUploadQuery) -> Placed:
    """Upload files to the session and acquisition with the UIDs of their metadata, in the project that is named"""
    return _placed("uid", query)


@bp.post("/storage/files", responses={200: StorageFile}, openapi_extensions=UPLOAD_BODY)
def upload_to_storage(query: StorageQuery) -> StorageFile:
    """Upload one file of a device to a project

    There are no signed URLs: a request for one is answered 409, and clients then send the file as a form.
    """
    if query.signed_url:
        raise Conflicting("Portico has no signed URLs. Send the file as a part of a multipart/form-data body.")
    project = Placement(container_type="project", container_id=rest_ids.row_id(query.project_id, "project"))
    with _receiving(project, UploadQuery()) as upload:
        said = _receive(upload)
        [(row, _), *_more] = _commit(upload, UploadQuery(), _each(said))
    return StorageFile(storage_file_id=rest_ids.encode("file", row.id))


def _placed(way: sent_hierarchy.Way, query: PlacedUploadQuery) -> Placed:
    with _receiving(Placement(), query) as upload:
        sent = sent_hierarchy.parse(_receive(upload))
        if not upload.names:
            raise BadValue("The request has no file; send one as a part with a file name.")
        actor = authentication.actor_now()
        numbers = sent_hierarchy.find_or_add(sent, way, anywhere=query.uid_placement, actor=actor)
        places = sent_hierarchy.placements(sent, numbers, upload.names)
        stored = _commit(upload, query, sent.files, places=places)
    placed = []
    for row, told in stored:
        number = FileVersionId(file_id=rest_ids.encode("file", row.id), version=row.version)
        placed.append(PlacedFile(**fields(row) | told | {"id": number}))
    return Placed(placed)


def _receiving(placement: Placement, query: UploadQuery) -> Upload:
    # By default a conflicting object is refused, since many clients read only the status code.
    may_hold = query.on_conflict == "hold"
    scope, actor = authentication.scope(), authentication.actor()
    return Upload(placement, scope=scope, actor=actor, actor_now=authentication.actor_now, may_hold=may_hold)


def _receive(upload: Upload) -> Any:
    """Receive the whole body; returns its metadata, None without any."""
    said: Any = None
    for event in multipart.events(runtime.current().max_upload):
        if isinstance(event, memoryview):
            upload.write(event)
        elif isinstance(event, multipart.FileHead):
            upload.begin(event.name)
        elif event.name != "metadata":
            raise BadValue(f"The part {event.name[:64]!r} has no file name; only the part metadata has none.")
        elif said is not None:
            raise BadValue("The request has two parts metadata.", field="metadata")
        else:
            said = _json(event.value)
    return said


def _commit(upload: Upload, query: UploadQuery, said: Any, **how: Any) -> list[tuple[Any, dict[str, str]]]:
    """The row of each file, and what became of it. Raises Conflicting also for one that is hidden."""
    try:
        stored = upload.commit(said, preserve=query.preserve_metadata, **how)
    except Conflicting as error:
        hint = "" if site_settings.get("archive.duplicates") == "refuse" else f" {HOLD_HINT}"
        raise Conflicting(f"{error.message}{hint}") from error
    return [_told(one, may_hold=query.on_conflict == "hold") for one in stored]


def _told(stored: Stored, *, may_hold: bool) -> tuple[Any, dict[str, str]]:
    hidden = files.hidden_reason(stored.file_id)
    if hidden and not may_hold:
        raise Conflicting(f"The object is already here, hidden from peers: {hidden}")
    return files.get_stored(stored.file_id), {"outcome": stored.outcome, "message": hidden or stored.message}


def _each(said: Any) -> list[FileMetadata]:
    """What is said of each file. Raises BadValue."""
    file_metadata.check_json(said)
    return [FileMetadata.parse(one) for one in (said if isinstance(said, list) else [said or {}])]


def _json(value: bytes) -> Any:
    try:
        return json.loads(value or b"null", parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadValue("The part metadata is not valid JSON.", field="metadata") from error


def _refuse_constant(text: str) -> None:
    raise ValueError(text)
