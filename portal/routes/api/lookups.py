"""/api/lookup, /resolve and /containers/{id}: a thing by its path, or by an id of any kind."""

from typing import Any

from werkzeug.wrappers import Response

from portal.errors import BadValue
from portal.lookup import resolve
from portal.routes.api import answers, authentication, files, shapes
from portal.routes.api.ancestry import located
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.containers import ContainerPath
from portal.routes.api.schemas.lookups import AnyContainer, FileNode, NodeFound, PathAsked, Resolved
from portal.tree import containers, groups, rest_ids

bp = Noun("lookup", __name__, "Things by their path.")


@bp.post("/lookup", responses={200: NodeFound})
def look_up(body: PathAsked) -> NodeFound:
    """Find what is at a path"""
    if not body.path:
        raise BadValue("The path is empty. Begin it with the id of a group.", field="path")
    found = resolve.resolve(body.path, actor=authentication.actor())[-1]
    node: Any = _node(found) if resolve.kind_of(found) in ("group", "file") else shapes.viewed(found)
    return NodeFound.model_construct(node)


@bp.post("/resolve", responses={200: Resolved})
def resolve_path(body: PathAsked) -> Response:
    """Find everything along a path, and what is directly below its end; for an empty path the groups"""
    actor = authentication.actor()
    found = resolve.resolve(body.path, actor=actor)
    below, others = resolve.children(found[-1] if found else None, actor=actor)
    way = b",".join(answers.as_json(_node(row)) for row in found)
    return shapes.in_parts(b'{"path":[%s],"children":[' % way, below, more=map(_node, others), tail=b"]}")


@bp.get("/containers/<container_id>", responses={200: AnyContainer})
def show(path: ContainerPath) -> AnyContainer:
    """Show a container of any kind, or a group by its id"""
    if not rest_ids.is_id(path.container_id):
        group = groups.get(path.container_id, actor=authentication.actor())
        return AnyContainer.model_construct(shapes.group_shape(group))
    kind, number = located("container", path.container_id)
    found: Any = shapes.viewed(containers.get(kind, number, authentication.scope()))
    return AnyContainer.model_construct(found)


def _node(row: Any) -> Any:
    kind = resolve.kind_of(row)
    if kind == "group":
        return shapes.group_shape(row)
    if kind == "file":
        return FileNode(**files.shape(row).model_dump(), container_type="file", node_type="file")
    return shapes.shape(row)
