"""POST /api/{container}/{id}/files: one file, streamed through the same door as C-STORE."""

from flask import Blueprint, jsonify, request
from werkzeug.wrappers import Response

from portal import runtime, site_settings
from portal.errors import BadValue, Conflicting
from portal.ingest import incoming as ingest
from portal.ingest.incoming import Incoming
from portal.ingest.placement import Placement
from portal.ingest.register import Stored
from portal.routes.api import authentication, multipart, queries
from portal.routes.api.containers import ANY_KIND, KINDS
from portal.routes.api.files import shape
from portal.tree import files, rest_ids
from portal.tree.containers import Kind

bp = Blueprint("uploads", __name__)


HOLD_HINT = "Or upload it with ?on_conflict=hold: it is then held, hidden from peers, until a site admin decides."


@bp.post(f"/<{ANY_KIND}:nouns>/<container_id>/files")
@queries.accepts("on_conflict")
def upload(nouns: str, container_id: str) -> Response:
    kind, may_hold = KINDS[nouns], _may_hold()
    try:
        stored = _receive(kind, rest_ids.row_id(container_id, kind), may_hold=may_hold)
    except Conflicting as error:
        hint = "" if site_settings.get("archive.duplicates") == "refuse" else f" {HOLD_HINT}"
        raise Conflicting(f"{error.message}{hint}") from error
    hidden = files.hidden_reason(stored.file_id)
    if hidden and not may_hold:
        raise Conflicting(f"The object is already here, hidden from peers: {hidden}")
    told = shape(files.get(stored.file_id, authentication.scope()))
    return jsonify([told | {"outcome": stored.outcome, "message": hidden or stored.message}])


def _may_hold() -> bool:
    """Whether an object may be held for a site admin to decide; else it is refused: many read the status alone."""
    wanted = request.args.get("on_conflict", "refuse")
    if wanted not in ("hold", "refuse"):
        raise BadValue("on_conflict must be hold or refuse.", field="on_conflict")
    return wanted == "hold"


def _receive(kind: Kind, container_id: int, *, may_hold: bool) -> Stored:
    """Keep the one file of the body, once the whole body is here; whatever goes wrong before, nothing stays."""
    incoming: Incoming | None = None
    try:
        for event in multipart.events(runtime.current().max_upload):
            if isinstance(event, multipart.Data):
                if incoming is not None:
                    incoming.write(event.data)
            elif incoming is None:
                incoming = _open(kind, container_id, event.filename, may_hold=may_hold)
            else:
                raise BadValue("The request has more than one file; send one file per request.")
        if incoming is None:
            raise BadValue("The request has no file; send one as a part with a file name.")
        return incoming.commit()
    finally:
        if incoming is not None:
            incoming.abort()


def _open(kind: Kind, container_id: int, filename: str, *, may_hold: bool) -> Incoming:
    placement = Placement(
        container_type=kind, container_id=container_id, name=files.clean_name(filename), also_here=True
    )
    return ingest.open(
        scope=authentication.scope(), origin=authentication.actor().origin, placement=placement, may_hold=may_hold
    )
