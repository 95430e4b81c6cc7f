"""The REST interface under /api: one module a noun; every answer, errors too, is JSON."""

from flask import Blueprint, Flask

from portal.routes.api import containers, devices, door, files, groups, problems, start, uploads
from portal.uses import Uses

NOUNS = (start, devices, groups, containers, files, uploads)


def register(app: Flask) -> None:
    """Put the interface into the application: all its blueprints, none of which takes a form of a page."""
    api = Blueprint("api", __name__, url_prefix="/api")
    door.install(api)
    problems.install(api)
    for noun in NOUNS:
        api.register_blueprint(noun.bp)
    app.register_blueprint(api)
    app.extensions["uses"] = Uses()
    app.after_request(door.counting(app.extensions["uses"]))
    app.before_request(lambda: problems.nowhere(door.admit))
