"""Activity: associations, refused callers, the audit log, and the verification of the site."""

from flask import Blueprint, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from portal.audit_log import entries, filters
from portal.audit_log.kinds import KINDS
from portal.dashboard import last_24_hours
from portal.jobs import item_list, jobs, lanes
from portal.jobs.kinds import FINDING_STATES
from portal.peers.lists import ASSOCIATION_DAYS, ASSOCIATIONS, CALLERS
from portal.verification import schedule
from portal.verification import verification as site_verification
from portal.verification.recorder import State
from portal.web import formats
from portal.web.forms import Form, text
from portal.web.render import as_csv, list_page, query_row, query_value, render, send_csv, send_json_lines, wants_csv
from portal.web.sign_in import current_actor, site_admin_required

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
    ("clear", "Clear text not allowed"),
    ("certificate", "Certificate not accepted"),
    ("handshake", "TLS handshake failed"),
    ("identity", "Wrong user identity"),
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
    chosen = filters.parse(request.args, zone=formats.zone())
    if request.args.get("format") == "csv":
        return send_csv(entries.cells(chosen), "audit")
    if request.args.get("format") == "jsonl":
        return send_json_lines(entries.json_lines(chosen), "audit")
    found = entries.find(chosen, before=query_row("before"), after=query_row("after"))
    last = site_verification.latest()
    return render(
        "activity/audit.html",
        partial="activity/_audit.html",
        found=found,
        kinds=KINDS,
        days=filters.DAYS,
        verified=jobs.view(last) if last else None,
        problems=State.load(last.result).found.get("audit", 0) if last else 0,
    )


class AcceptForm(Form):
    reason = text("Reason")


@bp.get("/verification/")
@site_admin_required
def verification() -> Response:
    last = site_verification.latest()
    if wants_csv() and last:
        return as_csv(item_list.complete_list(last, query_value("q", 200)), f"verification-{last.id}")
    return _verification_page(AcceptForm(formdata=None))


@bp.get("/verification/running")
@site_admin_required
def running_verification() -> Response:
    job = site_verification.active()
    response = render("verification/_running.html", job=jobs.view(job) if job else None, waits_for=_waits_for())
    if job is None:
        response.headers["HX-Refresh"] = "true"  # to show what it found
    return response


@bp.post("/verification/")
@site_admin_required
def verify() -> Response:
    site_verification.start(actor=current_actor())
    flash("The verification is started. You can close this page.")
    return redirect(url_for(".verification"), 303)


@bp.post("/verification/accept")
@site_admin_required
def accept_restore() -> Response:
    form = AcceptForm()

    def act() -> bool:
        site_verification.accept_restore(form.reason.data, actor=current_actor())
        return True

    if form.attempt(act) is None:
        return _verification_page(form, status=422)
    site_verification.start(actor=current_actor())
    flash("The restore is accepted and recorded in the audit log. The site is verified again.")
    return redirect(url_for(".verification"), 303)


def _verification_page(form: AcceptForm, status: int = 200) -> Response:
    last, now_running = site_verification.latest(), site_verification.active()
    return render(
        "verification/show.html",
        partial="verification/_findings.html",
        status=status,
        last=jobs.view(last) if last else None,
        state=(state := State.load(last.result) if last else State()),
        checked=[
            (words, state.checked[name]) for name, words in site_verification.LABELS.items() if name in state.checked
        ],
        listing=list_page(item_list.for_job(last, query_value("q", 200))) if last else None,
        areas=FINDING_STATES,
        form=form if last and site_verification.can_accept(last) else None,
        job=jobs.view(now_running) if now_running else None,
        waits_for=_waits_for(),
        recent=[jobs.view(row) for row in site_verification.list_recent()],
        next_due=schedule.next_due(),
    )


def _waits_for() -> str:
    """Why the verification waits, if it does."""
    job = site_verification.active()
    return lanes.wait_reason(job) if job else ""
