"""What the web server loads: `gunicorn wsgi:app`."""

from portal import settings
from portal.app import create_app

app = create_app(settings.load())
