"""Activity: associations, refused callers, and the audit log."""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint
from werkzeug.wrappers import Response

from portal import activity, associations, callers
from portal.routes.guard import site_admin_required
from portal.routes.pages import listing, render, within

bp = Blueprint("activity", __name__, url_prefix="/activity")

OUTCOMES = (("open", "Open"), ("released", "Released"), ("aborted", "Aborted"), ("lost", "Lost"), ("failed", "Failed"))
REASONS = (
    ("unknown", "Not registered"),
    ("called", "Wrong called title"),
    ("address", "Other address"),
    ("service", "Service not allowed"),
    ("disabled", "Disabled"),
    ("ignored", "Ignored"),
)


@bp.get("/")
@site_admin_required
def associations_list() -> Response:
    found = listing(_associations)
    return render("activity/associations.html", partial="activity/_associations.html", listing=found, outcomes=OUTCOMES)


@bp.get("/refused")
@site_admin_required
def refused() -> Response:
    rows = callers.every()
    found = listing(
        within(rows, lambda row: (row.calling, row.called, row.address), lambda row: row.decision or row.reason)
    )
    return render("activity/refused.html", partial="activity/_refused.html", listing=found, reasons=REASONS)


@bp.get("/audit")
@site_admin_required
def audit() -> Response:
    found = listing(activity.audit_log)
    nouns = [(noun, noun) for noun in activity.nouns()]
    return render("activity/audit.html", partial="activity/_audit.html", listing=found, nouns=nouns)


def _associations(search: str, outcome: str, limit: int, skip: int) -> tuple[Sequence[Any], int]:
    rows, total = activity.associations(search, outcome, limit, skip)
    return [associations.view(row) for row in rows], total
