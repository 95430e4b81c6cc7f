"""Conflicts: objects that are held until an admin decides."""

from typing import Any

from flask import Blueprint, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from portal.access import origins
from portal.errors import BadValue, PortalError
from portal.ingest import comparison, conflict_history, conflicts
from portal.ingest.conflict_list import CONFLICTS
from portal.tree import frames
from portal.web.render import as_csv, list_page, query_value, render, wants_csv
from portal.web.sign_in import current_actor, site_admin_required

bp = Blueprint("conflicts", __name__, url_prefix="/data/conflicts")

DECISION_TEXTS = {
    "keep": (
        {
            "title": "Keep out",
            "says": "Peers do not see the held object. It stays in the archive, hidden.",
            "button": "Keep out",
        },
        {
            "title": "Keep current",
            "says": "Peers continue to see the current object. The held object stays in the archive, hidden.",
            "button": "Keep current",
        },
    ),
    "replace": (
        {
            "title": "Accept",
            "says": "Peers see the held object in this study, in addition to the existing objects.",
            "button": "Accept",
        },
        {
            "title": "Replace",
            "says": "Peers see the held object instead. The current object is kept as an old version, hidden.",
            "button": "Replace (keep old version)",
        },
    ),
    "separate": (
        {
            "title": "Separate",
            "says": "Peers see the held object in a separate project; nothing changes in this project.",
            "button": "Move to a separate project",
        },
    )
    * 2,
}
"""The texts of each decision: for an object with a new UID, and for two objects with the same UID."""
BULK_RESULTS = {
    "keep": "the current objects are kept.",
    "replace": "the held objects are shown; the replaced objects are kept as old versions.",
    "separate": "the held objects are shown in a separate project.",
}
BULK_CHOICES = (
    ("keep", "Keep current"),
    ("replace", "Replace (keep old version)"),
    ("separate", "Move to a separate project"),
)
"""The decisions that several conflicts can be resolved with at once."""
REFUSALS_SHOWN = 5
STATES = tuple(conflicts.STATE_LABELS.items())


@bp.get("/")
@site_admin_required
def index() -> Response:
    return as_csv(CONFLICTS, "conflicts") if wants_csv() else _list()


@bp.post("/")
@site_admin_required
def decide() -> Response:
    choice = request.form.get("choice", "")
    try:
        decided = conflicts.resolve_several(request.form.getlist("conflict"), choice, actor=current_actor())
    except BadValue as error:
        return _list(error.message, status=422)
    if decided.done:
        one = decided.done == 1
        flash(
            f"{decided.done} {'conflict is' if one else 'conflicts are'} resolved: {BULK_RESULTS[choice]} "
            f"To change the decision, select {'it' if one else 'them'} under {conflicts.STATE_LABELS[choice]}."
        )
    for message in decided.refused[:REFUSALS_SHOWN]:
        flash(message, "bad")
    narrowed: dict[str, Any] = {
        name: query_value(name, 200) for name in ("q", "only", "sort") if query_value(name, 200)
    }
    return redirect(url_for(".index", **narrowed), 303)


@bp.get("/<row:conflict_id>")
@site_admin_required
def show(conflict_id: int) -> Response:
    conflict = conflicts.get(conflict_id)
    here, held, same_uid, members, instances = comparison.compared_objects(conflict)
    compared, trouble = None, ""
    if here is not None:
        try:
            compared = comparison.compare(here, held, neighbours=not same_uid, members=members)
        except PortalError as error:
            trouble = error.message

    return render(
        "conflicts/show.html",
        conflict=conflicts.view(conflict),
        word=conflicts.STATE_LABELS[conflict.choice],
        here=here,
        held=held,
        same_uid=same_uid,
        who=[file and origins.name(file) for file in (here, held)],
        members=members,
        instances=instances,
        kinds=[
            "other" if file is None or file.deleted_at else frames.frame_of_file(file, instance_id=number).kind
            for file, number in zip((here, held), instances, strict=True)
        ],
        comparison=compared,
        trouble=trouble,
        everything=request.args.get("only") == "all",
        choices=[
            (choice, words[same_uid])
            for choice, words in DECISION_TEXTS.items()
            if choice in conflicts.choices_for(conflict)
        ],
        history=conflict_history.decisions(conflict),
        next=conflicts.next_open(conflict_id),
    )


@bp.post("/<row:conflict_id>")
@site_admin_required
def resolve(conflict_id: int) -> Response:
    decided = conflicts.resolve(conflict_id, request.form.get("choice", ""), actor=current_actor())
    flash(f"{conflicts.DECISION_MESSAGES[decided.choice]} The decision can be changed later.")
    return redirect(url_for(".show", conflict_id=conflict_id), 303)


def _list(trouble: str = "", *, status: int = 200) -> Response:
    return render(
        "conflicts/list.html",
        partial="conflicts/_list.html",
        listing=list_page(CONFLICTS),
        states=STATES,
        choices=BULK_CHOICES,
        trouble=trouble,
        status=status,
    )
