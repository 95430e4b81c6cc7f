"""The application for a WSGI server of your own: `gunicorn wsgi:app`. `portal up` starts its own server."""

from portal import runtime, settings
from portal.app import create_app

chosen = settings.load()
runtime.start(chosen)
app = create_app(chosen)
