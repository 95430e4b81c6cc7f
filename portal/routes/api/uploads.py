"""POST /api/{container}/{id}/files: one file, streamed through the same door as C-STORE."""

from flask import Blueprint, jsonify
from werkzeug.wrappers import Response

from portal import files, ingest, rest_ids, runtime
from portal.containers import Kind
from portal.errors import BadValue
from portal.filing import Stored
from portal.ingest import Incoming
from portal.placement import Placement
from portal.routes.api import door, multipart
from portal.routes.api.containers import ANY, KINDS
from portal.routes.api.files import shape

bp = Blueprint("uploads", __name__)


@bp.post(f"/<{ANY}:nouns>/<container_id>/files")
def upload(nouns: str, container_id: str) -> Response:
    kind = KINDS[nouns]
    stored = _receive(kind, rest_ids.row(container_id, kind))
    told = shape(files.get(stored.file_id, door.scope()))
    return jsonify([told | {"outcome": stored.outcome, "sentence": stored.sentence}])


def _receive(kind: Kind, container_id: int) -> Stored:
    """Keep the one file of the body, once the whole body is here; whatever goes wrong before, nothing stays."""
    incoming: Incoming | None = None
    try:
        for event in multipart.events(runtime.current().max_upload):
            if isinstance(event, multipart.Data):
                if incoming is not None:
                    incoming.write(event.data)
            elif incoming is None:
                incoming = _open(kind, container_id, event.filename)
            else:
                raise BadValue("The request has more than one file; send each with a request of its own.")
        if incoming is None:
            raise BadValue("The request has no file; send one as a part with a file name.")
        return incoming.commit()
    finally:
        if incoming is not None:
            incoming.abort()


def _open(kind: Kind, container_id: int, filename: str) -> Incoming:
    placement = Placement(container_type=kind, container_id=container_id, name=files.clean_name(filename))
    return ingest.open(scope=door.scope(), origin=door.actor().origin, placement=placement)
