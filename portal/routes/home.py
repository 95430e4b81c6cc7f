"""The first page: the first steps of a new site, or how it stands."""

from flask import Blueprint, redirect, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from portal import activity, disk, expiries
from portal.routes import first_steps, guard
from portal.routes.guard import signed_in_required
from portal.routes.pages import render

bp = Blueprint("home", __name__)


@bp.get("/")
@signed_in_required
def index() -> Response:
    if not current_user.user.is_admin:
        return redirect(url_for("data.projects"), 303)
    return render(
        "home/index.html",
        now=activity.overview(guard.options()),
        steps=first_steps.now(),
        disk=disk.standing(),
        expiries=expiries.next_ones(),
    )
