"""Trash: put away from the pages of Data, restored from a page of its own."""

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from portal import browse, files, trash
from portal.data_lists import TRASH
from portal.routes.guard import current_actor, current_scope, site_admin_required
from portal.routes.pages import as_csv, listed, render, wants_csv

bp = Blueprint("trash", __name__, url_prefix="/data")

KINDS = (("file", "Files"), ("acquisition", "Acquisitions"), ("session", "Sessions"), ("subject", "Subjects"))
KIND = "any(file, acquisition, session, subject)"


@bp.get("/trash")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(TRASH, "trash")
    return render("data/trash.html", partial="data/_trash.html", listing=listed(TRASH), kinds=KINDS)


@bp.get(f"/<{KIND}:kind>/<row:number>/trash")
@site_admin_required
def ask(kind: str, number: int) -> Response:
    trash.require_thrower(current_actor())
    held, size = trash.contents(kind, number, current_scope())
    label, back, _ = _about(kind, number)
    return render("data/throw.html", kind=kind, label=label, back=back, files=held, size=size)


@bp.post(f"/<{KIND}:kind>/<row:number>/trash")
@site_admin_required
def throw(kind: str, number: int) -> Response:
    label, _, above = _about(kind, number)
    trash.throw(kind, number, actor=current_actor())
    flash(f"{label} is in the trash. It is hidden everywhere, and can be restored there.")
    return redirect(above, 303)


@bp.post("/trash/<row:trash_id>/restore")
@site_admin_required
def restore(trash_id: int) -> Response:
    outcome = trash.restore(trash_id, actor=current_actor())
    flash(outcome.sentence, "bad" if outcome.stayed and not outcome.back else "ok")
    return redirect(url_for(".index"), 303)


def _about(kind: str, number: int) -> tuple[str, str, str]:
    """What it is called, its page, and the page above it."""
    if kind == "file":
        file = files.get(number, current_scope())
        above = url_for("data.place", level=file.parent_type, number=file.parent_id)
        return file.name, url_for("data.file", file_id=number), above
    here = browse.place(kind, number, current_scope())
    parent = here.way[-2]
    above = url_for("data.place", level=parent.level, number=parent.id)
    return here.label, url_for("data.place", level=kind, number=number), above
