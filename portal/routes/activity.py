"""Activity: associations, refused callers, and the audit log."""

from flask import Blueprint
from werkzeug.wrappers import Response

from portal.access.lists import AUDIT
from portal.dashboard import last_24_hours
from portal.peers.lists import ASSOCIATION_DAYS, ASSOCIATIONS, CALLERS
from portal.web.render import as_csv, list_page, render, wants_csv
from portal.web.sign_in import site_admin_required

bp = Blueprint("activity", __name__, url_prefix="/activity")

OUTCOMES = (
    ("open", "Open"),
    ("released", "Released"),
    ("aborted", "Aborted"),
    ("rejected", "Rejected"),
    ("lost", "Lost"),
    ("failed", "Failed"),
)
REASONS = (
    ("unknown", "Not registered"),
    ("called", "Wrong called AE title"),
    ("address", "Address not allowed"),
    ("service", "Service not allowed"),
    ("grant", "No project access"),
    ("destination", "Move destination not allowed"),
    ("disabled", "Disabled"),
    ("limit", "Too many associations"),
    ("ignored", "Ignored"),
    ("registered", "Registered"),
    ("resolved", "Resolved"),
)


@bp.get("/")
@site_admin_required
def associations_list() -> Response:
    if wants_csv():
        return as_csv(ASSOCIATIONS, "associations")
    return render(
        "activity/associations.html",
        partial="activity/_associations.html",
        listing=list_page(ASSOCIATIONS),
        outcomes=OUTCOMES,
        day=last_24_hours.associations(),
    )


@bp.get("/days")
@site_admin_required
def association_days() -> Response:
    if wants_csv():
        return as_csv(ASSOCIATION_DAYS, "association-days")
    return render(
        "activity/days.html", partial="activity/_days.html", listing=list_page(ASSOCIATION_DAYS), outcomes=OUTCOMES
    )


@bp.get("/refused")
@site_admin_required
def refused() -> Response:
    if wants_csv():
        return as_csv(CALLERS, "refused-callers")
    return render(
        "activity/refused.html", partial="activity/_refused.html", listing=list_page(CALLERS), reasons=REASONS
    )


@bp.get("/audit")
@site_admin_required
def audit() -> Response:
    if wants_csv():
        return as_csv(AUDIT, "audit")
    found = list_page(AUDIT)
    nouns = [(noun, noun) for noun in sorted(found.counts)]
    return render("activity/audit.html", partial="activity/_audit.html", listing=found, nouns=nouns)
