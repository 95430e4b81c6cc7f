"""/api/dimse: the AE titles of projects, and the peers, as programs set them up."""

from typing import Any

from portal import site_settings
from portal.access import rights
from portal.errors import Conflicting, Missing
from portal.peers import peers
from portal.routes.api import authentication
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.changes import Deleted
from portal.routes.api.schemas.dimse import (
    AetPath,
    ProjectAet,
    ProjectAetGiven,
    ProjectAets,
    Service,
    ServiceGiven,
    Services,
)
from portal.tree import containers, projects, rest_ids

bp = Noun("dimse", __name__, "The DICOM side: AE titles of projects, and peers.")


@bp.get("/dimse/projects", responses={200: ProjectAets})
def list_projects() -> ProjectAets:
    """List the AE titles of projects"""
    return ProjectAets([_project(row) for row in _titled()])


@bp.post("/dimse/projects", responses={200: ProjectAet})
def add_project(body: ProjectAetGiven) -> ProjectAet:
    """Give a project an AE title of its own"""
    rights.require_admin(authentication.actor())
    project_id = rest_ids.row_id(body.project_id, "project")
    project: Any = containers.get("project", project_id, authentication.scope())
    if project.ae_title not in (None, body.aet):
        raise Conflicting(f"The project has the AE title {project.ae_title} already. Delete that one first.")
    projects.edit(project_id, label=project.label, ae_title=body.aet, actor=authentication.actor())
    return _project(containers.get("project", project_id, authentication.scope()))


@bp.get("/dimse/projects/<aet>", responses={200: ProjectAet})
def show_project(path: AetPath) -> ProjectAet:
    """Show which project an AE title belongs to"""
    return _project(_project_with(path.aet))


@bp.delete("/dimse/projects/<aet>", responses={200: Deleted})
def remove_project(path: AetPath) -> Deleted:
    """Take its AE title from a project"""
    row = _project_with(path.aet)
    projects.edit(row.id, label=row.label, ae_title="", actor=authentication.actor())
    return Deleted(deleted=1)


@bp.get("/dimse/services", responses={200: Services})
def list_services() -> Services:
    """List the peers"""
    rights.require_admin(authentication.actor())
    return Services([_service(row) for row in peers.list_all()])


@bp.post("/dimse/services", responses={200: Service})
def add_service(body: ServiceGiven) -> Service:
    """Add a peer; it may echo, and gets access to projects by a site admin on its page"""
    peer = peers.register(body.aet, ae_title=body.aet, host=body.host, port=body.port, actor=authentication.actor())
    return _service(peer)


@bp.get("/dimse/services/<aet>", responses={200: Service})
def show_service(path: AetPath) -> Service:
    """Show the peer of an AE title"""
    rights.require_admin(authentication.actor())
    return _service(_peer(path.aet))


@bp.delete("/dimse/services/<aet>", responses={200: Deleted})
def remove_service(path: AetPath) -> Deleted:
    """Remove the peer of an AE title"""
    rights.require_admin(authentication.actor())
    peers.remove(_peer(path.aet).label, actor=authentication.actor())
    return Deleted(deleted=1)


def _titled() -> list[Any]:
    found = containers.list_all("project", authentication.scope()).rows
    return [row for row in found if row.ae_title is not None]


def _project_with(aet: str) -> Any:
    for row in _titled():
        if row.ae_title == aet:
            return row
    raise Missing(f"No project has the AE title {aet[:16]!r}, or you do not have access to it.")


def _peer(aet: str) -> Any:
    found = peers.with_ae_title(aet)
    if not found:
        raise Missing(f"No peer has the AE title {aet[:16]!r}.")
    if len(found) > 1:
        raise Conflicting(f"{len(found)} peers have the AE title {aet}. Use the page Peers, or `portal peer`.")
    return found[0]


def _project(row: Any) -> ProjectAet:
    options = site_settings.get_all()
    return ProjectAet(
        id=rest_ids.encode("project", row.id),
        aet=row.ae_title,
        project_id=rest_ids.encode("project", row.id),
        host=options["dimse.host"],
        port=options["dimse.port"],
        creator=f"{row.origin_type} {row.origin_id}".strip(),
        created=row.created,
    )


def _service(row: Any) -> Service:
    return Service(
        id=str(row.id),
        aet=row.ae_title,
        host=row.host,
        port=row.port,
        creator=f"{row.origin_type} {row.origin_id}".strip(),
        created=row.created,
    )
