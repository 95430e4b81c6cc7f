"""POST /api/{container}/{id}/files: one file, streamed through the same ingest as C-STORE."""

from portal import runtime, site_settings
from portal.errors import BadValue, Conflicting
from portal.ingest import incoming as ingest
from portal.ingest.incoming import Incoming
from portal.ingest.placement import Placement
from portal.ingest.register import Stored
from portal.routes.api import authentication, multipart
from portal.routes.api.ancestry import KINDS
from portal.routes.api.files import shape
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.containers import ContainerPath
from portal.routes.api.schemas.files import UPLOAD_BODY, Uploaded, UploadedFile, UploadQuery
from portal.tree import files, rest_ids
from portal.tree.containers import Kind

bp = Noun("uploads", __name__, "Uploads, streamed through the same ingest as C-STORE.")

HOLD_HINT = "Or upload it with ?on_conflict=hold: it is then held, hidden from peers, until a site admin decides."


@bp.each("post", "/{noun}/<container_id>/files", KINDS, lambda _kind: Uploaded, openapi_extensions=UPLOAD_BODY)
def upload(kind: Kind, path: ContainerPath, query: UploadQuery) -> Uploaded:
    """Upload a file to one {kind}"""
    # By default a conflicting object is refused, since many clients read only the status code.
    may_hold = query.on_conflict == "hold"
    try:
        stored = _receive(kind, rest_ids.row_id(path.container_id, kind), may_hold=may_hold)
    except Conflicting as error:
        hint = "" if site_settings.get("archive.duplicates") == "refuse" else f" {HOLD_HINT}"
        raise Conflicting(f"{error.message}{hint}") from error
    hidden = files.hidden_reason(stored.file_id)
    if hidden and not may_hold:
        raise Conflicting(f"The object is already here, hidden from peers: {hidden}")
    stored_file = shape(files.get(stored.file_id, authentication.scope())).model_dump()
    return Uploaded([UploadedFile(**stored_file, outcome=stored.outcome, message=hidden or stored.message)])


def _receive(kind: Kind, container_id: int, *, may_hold: bool) -> Stored:
    """Store the only file of the body, after the complete body was received; nothing is stored on any error."""
    incoming: Incoming | None = None
    try:
        for event in multipart.events(runtime.current().max_upload):
            if isinstance(event, multipart.Data):
                if incoming is not None:
                    incoming.write(event.data)
            elif incoming is None:
                name = files.clean_name(event.filename)
                placement = Placement(container_type=kind, container_id=container_id, name=name, also_here=True)
                scope, origin = authentication.scope(), authentication.actor().origin
                incoming = ingest.open(scope=scope, origin=origin, placement=placement, may_hold=may_hold)
            else:
                raise BadValue("The request has more than one file; send one file per request.")
        if incoming is None:
            raise BadValue("The request has no file; send one as a part with a file name.")
        return incoming.commit()
    finally:
        if incoming is not None:
            incoming.abort()
