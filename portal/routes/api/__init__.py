"""The REST interface under /api: one module per noun; every response, also of an error, is JSON."""

from flask_openapi3 import OpenAPI

from portal.devices.device_usage import UsageCounter
from portal.routes.api import (
    authentication,
    changes,
    containers,
    contents,
    devices,
    dimse,
    files,
    foreign,
    groups,
    hierarchy,
    lookups,
    people,
    problems,
    start,
    uploads,
)
from portal.routes.api.noun import Interface

NOUNS = (
    *(start.bp, start.bp_of_key, people.bp, devices.bp, dimse.bp, lookups.bp),
    *(groups.bp, containers.bp, changes.bp, hierarchy.bp, files.bp, contents.bp, uploads.bp, foreign.bp),
)


def register(app: OpenAPI) -> None:
    """Register all nouns of the interface, and the handlers that they share."""
    api = Interface("api", __name__, url_prefix="/api")
    authentication.install(api)
    problems.install(api)
    for noun in NOUNS:
        api.register_api(noun)
    app.register_api(api)
    app.extensions["uses"] = UsageCounter()
    app.after_request(authentication.usage_counter(app.extensions["uses"]))
    app.before_request(lambda: problems.unknown_address(authentication.authenticate))
