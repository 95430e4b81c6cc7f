"""First steps of a new site: on Home until they are done or hidden, and always on their own page."""

from flask import Blueprint, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from portal.dashboard import first_steps
from portal.web import sign_in
from portal.web.render import query_value, render
from portal.web.sign_in import current_actor, site_admin_required

bp = Blueprint("first_steps", __name__, url_prefix="/first-steps")


@bp.get("/")
@site_admin_required
def show() -> Response:
    return render("home/first_steps.html", steps=now(), options=sign_in.site_options())


@bp.get("/now")
@site_admin_required
def progress() -> Response:
    """The steps if they have changed since the page was rendered; else 204."""
    steps = now()
    if query_value("mark", 32) == steps.mark:
        return Response(status=204)
    return render("home/_first_steps.html", steps=steps)


@bp.post("/<name>/leave")
@site_admin_required
def skip(name: str) -> Response:
    first_steps.skip(name, actor=current_actor())
    return _back()


@bp.post("/<name>/take-up")
@site_admin_required
def resume(name: str) -> Response:
    first_steps.skip(name, is_skipped=False, actor=current_actor())
    return _back()


@bp.post("/hide")
@site_admin_required
def hide() -> Response:
    first_steps.hide(True, actor=current_actor())
    flash("The first steps are hidden. They stay available in Settings.")
    return redirect(url_for("home.index"), 303)


@bp.post("/show")
@site_admin_required
def unhide() -> Response:
    first_steps.hide(False, actor=current_actor())
    flash("The first steps are shown on Home again.")
    return redirect(url_for("home.index"), 303)


def now() -> first_steps.Steps:
    return first_steps.overview(sign_in.site_options())


def _back() -> Response:
    """Redirect to the page that showed the steps."""
    own = request.form.get("on") == "steps"
    return redirect(url_for(".show" if own else "home.index"), 303)
