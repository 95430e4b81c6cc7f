"""What clients request when they start: their identity, the release, and its features."""

from importlib import metadata

from flask import Blueprint, jsonify, request
from werkzeug.wrappers import Response

from portal import site_settings
from portal.routes.api import answers, authentication
from portal.tree import rest_ids

bp = Blueprint("start", __name__)

COMPATIBLE_RELEASE = "23.0.0"
"""The release of the interface that clients see."""


@bp.get("/auth/status")
def auth_status() -> Response:
    actor = authentication.actor()
    is_device = actor.type == "device"
    roles = ["public", "drone"] if is_device else ["public", "user", *(["admin"] if actor.is_admin else [])]
    return jsonify(
        origin={"type": actor.type, "id": rest_ids.encode(actor.type, int(actor.id))},
        user_id=None if is_device else actor.name,
        user_is_admin=actor.is_admin,
        is_device=is_device,
        roles=roles,
    )


@bp.get("/version")
def version() -> Response:
    return jsonify(_id="version", release=metadata.version("portico"), flywheel_release=COMPATIBLE_RELEASE)


@bp.get("/config")
def config() -> Response:
    options = site_settings.get_all()
    site = {
        "id": "local",
        "name": options["site.name"],
        "api_url": f"{request.host_url}api",
        "dimse_host": options["dimse.host"],
        "dimse_port": options["dimse.port"],
        "pagination_limit": answers.MAX_LIMIT,
    }
    return jsonify(
        site=site,
        features={"signed_url": False, "dimse": options["dimse.enabled"], "project_export": True},
        signed_url=False,
    )
