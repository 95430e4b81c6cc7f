"""The application of a test's own site."""

from typing import Any

from flask import Flask
from limits.storage import MemoryStorage

from portal import runtime
from portal.app import create_app
from portal.settings import Settings
from portal.web.sign_in import limiter

_made: dict[tuple[Any, ...], Flask] = {}


def application(site: Settings) -> Flask:
    """Made once a process for all sites that are alike, which takes longer than most tests do.

    Of a site it keeps the key of its sessions, which is set here; what the one before has counted is forgotten.
    """
    kind = (site.cookie_secure, site.trusted_proxies, site.redis_url)
    if kind not in _made:
        _made[kind] = create_app(site)
    app = _made[kind]
    app.config["SECRET_KEY"] = runtime.secrets().derive("session")
    app.extensions["uses"].flush()
    if isinstance(counted := limiter.limiter.storage, MemoryStorage):
        counted.reset()
    return app
