"""Trash: items are moved here from the pages of Data, and restored or purged on the page of the trash."""

from dataclasses import dataclass

from flask import Blueprint, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from portal import site_settings
from portal.maintenance.purge import Outcome as Purged
from portal.trash import trash
from portal.trash.lists import trash_of
from portal.trash.restore import RestoreOutcome
from portal.tree import container_page, files
from portal.web import sign_in
from portal.web.render import as_csv, list_page, render, wants_csv
from portal.web.sign_in import current_actor, current_scope, signed_in_required

bp = Blueprint("trash", __name__, url_prefix="/data")

KINDS = (("file", "Files"), ("acquisition", "Acquisitions"), ("session", "Sessions"), ("subject", "Subjects"))
KIND_CONVERTER = "any(file, acquisition, session, subject)"


@bp.get("/trash")
@signed_in_required
def index() -> Response:
    whole = trash_of(current_scope())
    if wants_csv():
        return as_csv(whole, "trash")
    days = site_settings.get("trash.days")
    return render("data/trash.html", partial="data/_trash.html", listing=list_page(whole), kinds=KINDS, days=days)


@bp.get(f"/<{KIND_CONVERTER}:kind>/<row:number>/trash")
@signed_in_required
def ask(kind: str, number: int) -> Response:
    trash.require_movable(kind, number, actor=current_actor())
    file_count, size = trash.measure(kind, number, current_scope())
    item = _item(kind, number)
    return render(
        "data/move_to_trash.html",
        kind=kind,
        label=item.label,
        back=item.page,
        files=file_count,
        size=size,
        large=trash.needs_job(file_count),
        exports=trash.count_active_exports(item.project),
    )


@bp.post(f"/<{KIND_CONVERTER}:kind>/<row:number>/trash")
@signed_in_required
def move(kind: str, number: int) -> Response:
    item = _item(kind, number)
    moved = trash.move_to_trash(kind, number, actor=current_actor())
    if moved.job is not None:
        flash(f"{item.label} is being moved to trash. You can close this page.")
        return redirect(_job_page(moved.job) or item.above, 303)
    words = f"{item.label} is moved to trash. It is hidden everywhere and can be restored."
    flash({"words": words, "undo": url_for(".restore", trash_id=moved.id, back=item.above)})  # type: ignore[arg-type]
    return redirect(item.above, 303)


@bp.post("/trash/<row:trash_id>/restore")
@signed_in_required
def restore(trash_id: int) -> Response:
    outcome = trash.request_restore(trash_id, actor=current_actor())
    if not isinstance(outcome, RestoreOutcome):
        flash("The item is being restored. You can close this page.")
        return redirect(_job_page(outcome.id) or url_for(".index"), 303)
    flash(outcome.message, "bad" if outcome.stayed and not outcome.back else "ok")
    return redirect(sign_in.local_path(request.args.get("back", "")) or url_for(".index"), 303)


@bp.get("/trash/<row:trash_id>/purge")
@signed_in_required
def ask_purge(trash_id: int) -> Response:
    trash.require_purgeable(trash_id, actor=current_actor())
    moved = trash.get(trash_id)
    return render("data/purge.html", row=moved, exports=trash.count_active_exports(moved.project_id))


@bp.post("/trash/<row:trash_id>/purge")
@signed_in_required
def purge(trash_id: int) -> Response:
    outcome = trash.request_purge(trash_id, actor=current_actor())
    if not isinstance(outcome, Purged):
        flash("The item is being purged. You can close this page.")
        return redirect(_job_page(outcome.id) or url_for(".index"), 303)
    flash(outcome.message, "bad" if outcome.stayed and not outcome.files else "ok")
    return redirect(url_for(".index"), 303)


def _job_page(job_id: int) -> str:
    """The page of a job, for who may see it."""
    return url_for("jobs.show", job_id=job_id) if sign_in.is_admin() else ""


@dataclass(frozen=True, kw_only=True)
class _Item:
    """An item that can be moved to trash: its label, the row of its project, its page, and the page above it."""

    label: str
    project: int
    page: str
    above: str


def _item(kind: str, number: int) -> _Item:
    if kind == "file":
        file = files.get(number, current_scope())
        here = container_page.get(file.parent_type, file.parent_id, current_scope())
        label, page, parent = file.name, url_for("data.file", file_id=number), here.steps[-1]
    else:
        here = container_page.get(kind, number, current_scope())
        label, page, parent = here.label, url_for("data.place", level=kind, number=number), here.steps[-2]
    above = url_for("data.place", level=parent.level, number=parent.id)
    return _Item(label=label, project=here.steps[0].id, page=page, above=above)
