"""Conflicts: objects that are held until an admin decides."""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from portal import activity, conflicts
from portal.routes.guard import current_actor, site_admin_required
from portal.routes.pages import listing, render

bp = Blueprint("conflicts", __name__, url_prefix="/data/conflicts")

STATES = (("keep", "Kept"), ("replace", "Replaced"), ("separate", "Separated"))


@bp.get("/")
@site_admin_required
def index() -> Response:
    return render("conflicts/list.html", partial="conflicts/_list.html", listing=listing(_found), states=STATES)


@bp.get("/<row:conflict_id>")
@site_admin_required
def show(conflict_id: int) -> Response:
    return render("conflicts/show.html", conflict=conflicts.view(conflicts.get(conflict_id)))


@bp.post("/<row:conflict_id>")
@site_admin_required
def resolve(conflict_id: int) -> Response:
    decided = conflicts.resolve(conflict_id, request.form.get("choice", ""), actor=current_actor())
    flash(conflicts.SENTENCES[decided.choice])
    return redirect(url_for(".index"), 303)


def _found(search: str, state: str, limit: int, skip: int) -> tuple[Sequence[Any], int]:
    rows, total = activity.conflicts(search, state or conflicts.OPEN, limit, skip)
    return [conflicts.view(row) for row in rows], total
