"""The search box of every page: one page of results, grouped by kind."""

from dataclasses import dataclass

from flask import Blueprint, redirect, url_for
from werkzeug.wrappers import Response

from portal.dashboard import search
from portal.devices import key_format
from portal.web.render import query_value, render
from portal.web.sign_in import current_scope, is_admin, signed_in_required

bp = Blueprint("search", __name__)


@dataclass(frozen=True, kw_only=True)
class ResultKind:
    """One kind of result: heading, icon, endpoint of its list (`all`), endpoint and parameter of its page."""

    heading: str
    picture: str
    all: str = ""
    one: str = ""
    number: str = ""


KINDS = {
    "job": ResultKind(heading="Jobs", picture="list-check", one="jobs.show", number="job_id"),
    "key": ResultKind(heading="API keys", picture="key", one="devices.show", number="device_id", all="devices.index"),
    "user_key": ResultKind(heading="API keys of users", picture="key", one="users.show", number="user_id"),
    "project": ResultKind(heading="Projects", picture="folders", all="data.projects"),
    "subject": ResultKind(heading="Subjects", picture="folder"),
    "study": ResultKind(heading="Studies", picture="folder"),
    "series": ResultKind(heading="Series", picture="folder"),
    "instance": ResultKind(heading="Objects", picture="file", one="data.file", number="file_id"),
    "device": ResultKind(heading="Devices", picture="key", one="devices.show", number="device_id", all="devices.index"),
    "peer": ResultKind(heading="DICOM Peers", picture="scan", one="peers.show", number="peer_id", all="peers.index"),
    "caller": ResultKind(heading="Refused callers", picture="door-off", all="activity.refused"),
    "storage": ResultKind(
        heading="External Storage", picture="cloud", one="storages.show", number="storage_id", all="storages.index"
    ),
    "user": ResultKind(heading="Users", picture="user", all="users.index"),
}


@bp.get("/search")
@signed_in_required
def index() -> Response:
    text = query_value("q", 200)
    key_id = key_format.key_id_in(text)
    if key_id and key_id != text:  # the secret of a key must not stay in the address or on the page
        return redirect(url_for(".index", q=key_id), 303)
    found = search.find(text, current_scope(), is_admin=is_admin()) if text else []
    return render("search/index.html", text=text, found=[(group, KINDS[group.kind]) for group in found])
