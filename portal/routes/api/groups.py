"""/api/groups: groups and their projects."""

from typing import Any

from flask import Blueprint, jsonify
from werkzeug.wrappers import Response

from portal.routes.api import answers, authentication, bodies, queries
from portal.routes.api.containers import shape as project_shape
from portal.tree import groups, projects

bp = Blueprint("groups", __name__, url_prefix="/groups")


@bp.get("")
@queries.accepts(*queries.LIST_PARAMETERS)
def list_all() -> Response:
    return answers.listed(groups.list_all(answers.page("group", "label"), actor=authentication.actor()), _shape)


@bp.post("")
def add() -> Response:
    body = bodies.read(_id=str, label=str)
    row = groups.add(bodies.require(body, "_id"), body.get("label"), actor=authentication.actor())
    return jsonify(_id=row.code)


@bp.get("/<code>")
def show(code: str) -> Response:
    return jsonify(_shape(groups.get(code, actor=authentication.actor())))


@bp.get("/<code>/projects")
@queries.accepts(*queries.LIST_PARAMETERS)
def list_projects(code: str) -> Response:
    page = answers.page("project", "label")
    return answers.listed(projects.list_in_group(code, page, actor=authentication.actor()), project_shape)


def _shape(row: Any) -> dict[str, Any]:
    return {
        "_id": row.code,
        "label": row.label,
        "created": answers.moment(row.created),
        "modified": answers.moment(row.modified),
        "origin": answers.origin(row),
    }
