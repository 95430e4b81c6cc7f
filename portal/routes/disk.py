"""What fills the disk: day by day, project by project, and who wrote last."""

from flask import Blueprint
from werkzeug.wrappers import Response

from portal import copies, disk
from portal.disk_lists import PROJECTS
from portal.routes.guard import site_admin_required
from portal.routes.pages import as_csv, listed, render, wants_csv

bp = Blueprint("disk", __name__, url_prefix="/disk")


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(PROJECTS, "disk")
    return render(
        "disk/index.html",
        partial="disk/_projects.html",
        listing=listed(PROJECTS),
        disk=disk.standing(),
        trash=disk.thrown(),
        latest=disk.latest(),
        has_bucket=copies.has_bucket(),
    )


@bp.get("/bucket")
@site_admin_required
def bucket() -> Response:
    return render("disk/bucket.html", partial="disk/_bucket.html", bucket=copies.standing())
