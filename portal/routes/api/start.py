"""What clients request when they start: their identity, the release, and its features."""

from importlib import metadata

from flask import current_app, jsonify, request
from werkzeug.wrappers import Response

from portal import site_settings
from portal.routes.api import authentication
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.lists import MAX_LIMIT
from portal.routes.api.schemas.start import AuthStatus, Config, Features, Identity, Site, Version
from portal.tree import rest_ids

bp = Noun("start", __name__, "What clients request when they start.", without_key=True)
bp_of_key = Noun("auth", __name__, "Whose key it is.")

COMPATIBLE_RELEASE = "23.0.0"
"""The release of the interface that clients see."""


@bp_of_key.get("/auth/status", responses={200: AuthStatus})
def auth_status() -> AuthStatus:
    """Whose key this is"""
    actor = authentication.actor()
    is_device = actor.type == "device"
    return AuthStatus(
        origin=Identity(type=actor.type, id=rest_ids.encode(actor.type, int(actor.id))),
        user_id=None if is_device else actor.name,
        user_is_admin=actor.is_admin,
        is_device=is_device,
        roles=["public", "drone"] if is_device else ["public", "user", *(["site_admin"] if actor.is_admin else [])],
    )


@bp.get("/version", responses={200: Version})
def version() -> Version:
    """The release of this site and of its interface"""
    return Version(id="version", release=metadata.version("portico"), flywheel_release=COMPATIBLE_RELEASE)


@bp.get("/config", responses={200: Config})
def config() -> Config:
    """What this site can do"""
    options = site_settings.get_all()
    site = Site(
        id="local",
        name=options["site.name"],
        api_url=f"{request.host_url}api",
        dimse_host=options["dimse.host"],
        dimse_port=options["dimse.port"],
        pagination_limit=MAX_LIMIT,
    )
    features = Features(signed_url=False, dimse=options["dimse.enabled"], project_export=True)
    return Config(site=site, features=features, signed_url=False)


@bp.get("/openapi.json", doc_ui=False)
def document() -> Response:
    """This interface as an OpenAPI 3.1 document."""
    return jsonify(current_app.api_doc)  # type: ignore[attr-defined]
