"""Home: the first steps of a new site, or its overview."""

from flask import Blueprint, redirect, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from portal.dashboard import disk_usage, key_expiries, running_now
from portal.routes import first_steps
from portal.web import sign_in
from portal.web.render import render
from portal.web.sign_in import signed_in_required

bp = Blueprint("home", __name__)


@bp.get("/")
@signed_in_required
def index() -> Response:
    if not current_user.user.is_admin:
        return redirect(url_for("data.projects"), 303)
    return render(
        "home/index.html",
        now=running_now.overview(sign_in.site_options()),
        steps=first_steps.now(),
        disk=disk_usage.current_status(),
        expiries=key_expiries.upcoming(),
    )
