"""Disk usage: by day, by project, and the newest files by source; archive problems."""

from flask import Blueprint, flash, redirect, request, url_for
from flask import Response as FlaskResponse
from werkzeug.wrappers import Response

from portal import segment_checks
from portal.dashboard import disk_usage
from portal.dashboard.disk_list import PROJECTS
from portal.maintenance import quarantine, segment_copies
from portal.web.render import as_csv, list_page, render, wants_csv
from portal.web.security_headers import attachment
from portal.web.sign_in import current_actor, site_admin_required

bp = Blueprint("disk", __name__, url_prefix="/disk")

MAX_RECORDS = 100
"""Quarantined records that the page lists; the command line lists all."""


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(PROJECTS, "disk")
    return render(
        "disk/index.html",
        partial="disk/_projects.html",
        listing=list_page(PROJECTS),
        disk=disk_usage.current_status(),
        trash=disk_usage.trash_totals(),
        latest=disk_usage.latest_writers(),
        has_bucket=segment_copies.has_bucket(),
    )


@bp.get("/bucket")
@site_admin_required
def bucket() -> Response:
    return render("disk/bucket.html", partial="disk/_bucket.html", bucket=segment_copies.bucket_state())


@bp.get("/problems")
@site_admin_required
def problems() -> Response:
    return render(
        "disk/problems.html", problems=segment_checks.known_problems(), records=quarantine.list_all(MAX_RECORDS)
    )


@bp.get("/records/<row:record_id>/download")
@site_admin_required
def download_record(record_id: int) -> Response:
    row = quarantine.get(record_id)
    # HEAD downloads nothing
    content = quarantine.download(row, actor=current_actor()) if request.method == "GET" else ()
    response = FlaskResponse(content, mimetype="application/octet-stream", direct_passthrough=True)
    response.headers["Content-Disposition"] = attachment(quarantine.file_name(row))
    response.content_length = row.size
    return response


@bp.post("/records/<row:record_id>/note")
@site_admin_required
def note_record(record_id: int) -> Response:
    quarantine.acknowledge(record_id, actor=current_actor())
    flash("The record is acknowledged. It stays listed here and no longer raises an alert.")
    return redirect(url_for(".problems"), 303)
