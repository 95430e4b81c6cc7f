"""The REST interface under /api: one module per noun; every response, also of an error, is JSON."""

from flask import Blueprint, Flask

from portal.devices.device_usage import UsageCounter
from portal.routes.api import authentication, containers, devices, files, groups, problems, start, uploads

NOUNS = (start, devices, groups, containers, files, uploads)


def register(app: Flask) -> None:
    """Register all blueprints of the interface, and the handlers that they share."""
    api = Blueprint("api", __name__, url_prefix="/api")
    authentication.install(api)
    problems.install(api)
    for noun in NOUNS:
        api.register_blueprint(noun.bp)
    app.register_blueprint(api)
    app.extensions["uses"] = UsageCounter()
    app.after_request(authentication.usage_counter(app.extensions["uses"]))
    app.before_request(lambda: problems.unknown_address(authentication.authenticate))
