"""Interfaces, second tab: DICOM peers and refused callers; only while the DIMSE service is enabled."""

from typing import Any

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from portal import hourly_charts
from portal.access import audit_entries
from portal.commitments import rows as commitment_rows
from portal.errors import Missing
from portal.jobs import jobs
from portal.jobs.records import JobParams
from portal.peers import peer_status, peers, refused_callers
from portal.peers.lists import PEERS, undecided_callers
from portal.peers.peer_fields import TLS_FIELDS
from portal.tree import container_page
from portal.users import effective_access
from portal.web import sign_in
from portal.web.forms import Form, checkbox, choice, choices, lines, secret, select_choices, split, text
from portal.web.render import as_csv, list_page, query_row, render, wants_csv
from portal.web.sign_in import current_actor, current_scope, site_admin_required

bp = Blueprint("peers", __name__, url_prefix="/interfaces/peers")

SERVICES = [
    ("echo", "Echo: verify the connection"),
    ("store", "Store: send objects to us"),
    ("find", "Find: query for studies"),
    ("move", "Move: have objects sent to a destination"),
    ("get", "Get: retrieve objects"),
    ("commit", "Commit: request storage commitment"),
]
ACCESS = [("none", "No project"), ("some", "Selected projects"), ("all", "All projects (read only)")]
IDENTITIES = [
    ("", "As the site says"),
    ("ignored", "Ignored"),
    ("refused", "Refused"),
    ("required", "Required: user name and password"),
]
MAX_REFUSED_SHOWN = 5
"""Refused callers above the list of peers; Activity lists all."""
SETTINGS = (
    *("confirm_sends", "lenient_queries", "assumed_character_set", "answer_character_set", "max_associations"),
    *("identity", "identity_user", "identity_password"),
)
"""Fields of the form's last sections, which have the names of the domain."""
STATES = (
    ("silent", "Silent"),
    ("failed", "Failed"),
    ("ok", "OK"),
    ("unknown", "Never tested"),
    ("disabled", "Disabled"),
)


class PeerForm(Form):
    label = text("Label")
    ae_title = text("AE title")
    host = text("Host")
    port = text("Port")
    addresses = lines("Allowed addresses")
    services = choices("Allowed services", SERVICES)
    sees = choice("Project access", ACCESS)
    projects = lines("Projects")
    store_to = choice("Default project for incoming studies")
    moves_to = lines("C-MOVE destinations")
    our_ae_title = text("Calling AE title used with this peer")
    confirm_sends = checkbox("Confirm sends by storage commitment")
    tls = checkbox("TLS only")
    issuers = lines("Issuers of its certificate")
    pinned = lines("Its certificate")
    tls_name = text("Name in the certificate")
    tls_any_name = checkbox("Accept any name in the certificate")
    lenient_queries = checkbox("Lenient queries")
    assumed_character_set = text("Assumed character set")
    answer_character_set = text("Character set of answers")
    max_associations = text("Associations at once")
    identity = choice("User identity", IDENTITIES)
    identity_user = text("User name")
    identity_password = secret("Password")


@bp.before_request
def only_while_enabled() -> None:
    """No page while the DIMSE service is disabled."""
    if not sign_in.site_options()["dimse.enabled"]:
        raise Missing("DICOM Peers requires the DIMSE service. Enable it in Settings.")


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(PEERS, "peers")
    refused, ignored = undecided_callers(MAX_REFUSED_SHOWN)
    return render(
        "peers/list.html",
        partial="peers/_list.html",
        listing=list_page(PEERS),
        states=STATES,
        refused=refused,
        ignored=ignored,
    )


@bp.get("/new")
@site_admin_required
def new() -> Response:
    caller = _refused_caller()
    if caller is None:
        return render("peers/form.html", form=_form(PeerForm(services=["echo"], sees="none")), peer=None, refused=None)
    wanted = refused_callers.suggested_fields(caller.id)
    granted = "\n".join(f"{path}:{role}" for path, role in wanted["projects"])
    values = {**wanted, "addresses": "\n".join(wanted["addresses"]), "projects": granted}
    form = _form(PeerForm(formdata=None, data={**values, "sees": "some" if granted else "none"}))
    return render("peers/form.html", form=form, peer=None, refused=refused_callers.view(caller))


@bp.post("/new")
@site_admin_required
def register() -> Response:
    form, caller = _form(PeerForm()), _refused_caller()

    def add() -> Any:
        if caller is None:
            return peers.register(actor=current_actor(), **_fields(form))
        return refused_callers.register(caller.id, actor=current_actor(), **_fields(form))

    peer = form.attempt(add)
    if peer is None:
        refused = None if caller is None else refused_callers.view(caller)
        return render("peers/form.html", form=form, peer=None, refused=refused, status=422)
    flash(f"{peer.label} is registered. Allowed services: {', '.join(peer.services) or 'none'}.")
    return redirect(url_for(".show", peer_id=peer.id), 303)


@bp.get("/<row:peer_id>")
@site_admin_required
def show(peer_id: int) -> Response:
    peer = peers.by_id(peer_id)
    dimse, job_id = sign_in.site_options(), query_row("job")
    job = jobs.get(job_id) if job_id is not None else None
    if job is not None and not (job.kind == "echo" and JobParams.load(job.params).peer_id == peer.id):
        job = None

    return render(
        "peers/show.html",
        partial="peers/_test.html",
        peer=peers.view(peer),
        state=peer_status.current(peer),
        job=job and jobs.view(job),
        ours=peer.our_ae_title or dimse["dimse.ae_title"],
        dimse=dimse,
        day=hourly_charts.associations(peer.id),
        access=effective_access.for_peer(peer),
        commitments=commitment_rows.for_peer(peer.id),
        heard=peer_status.last_contact(peer),
        acts=audit_entries.for_target("peer", peer.id),
    )


@bp.post("/<row:peer_id>/echo")
@site_admin_required
def echo(peer_id: int) -> Response:
    peer = peers.by_id(peer_id)
    job_id = peers.request_echo(peer.label, actor=current_actor())
    return redirect(url_for(".show", peer_id=peer_id, job=job_id), 303)


@bp.get("/<row:peer_id>/edit")
@site_admin_required
def edit(peer_id: int) -> Response:
    row = peers.by_id(peer_id)
    peer = peers.view(row)
    values = {**_values(peer), **{name: getattr(row, name) for name in TLS_FIELDS}}
    return render("peers/form.html", form=_form(PeerForm(**values)), peer=peer, refused=None)


@bp.post("/<row:peer_id>/edit")
@site_admin_required
def save(peer_id: int) -> Response:
    peer = peers.view(peers.by_id(peer_id))
    form = _form(PeerForm())

    def change() -> Any:
        fields = _fields(form)
        return peers.edit(peer["label"], new_label=fields.pop("label"), actor=current_actor(), **fields)

    changed = form.attempt(change)
    if changed is None:
        return render("peers/form.html", form=form, peer=peer, refused=None, status=422)
    flash(f"{changed.label} is saved. It applies from the next association.")
    return redirect(url_for(".show", peer_id=peer_id), 303)


@bp.post("/<row:peer_id>/disable")
@site_admin_required
def disable(peer_id: int) -> Response:
    peer = peers.disable(peers.by_id(peer_id).label, actor=current_actor())
    flash(f"{peer.label} is disabled. Its associations are rejected.")
    return redirect(url_for(".show", peer_id=peer_id), 303)


@bp.post("/<row:peer_id>/enable")
@site_admin_required
def enable(peer_id: int) -> Response:
    peer = peers.enable(peers.by_id(peer_id).label, actor=current_actor())
    flash(f"{peer.label} is enabled.")
    return redirect(url_for(".show", peer_id=peer_id), 303)


@bp.get("/<row:peer_id>/remove")
@site_admin_required
def ask_remove(peer_id: int) -> Response:
    return render("peers/remove.html", peer=peers.view(peers.by_id(peer_id)))


@bp.post("/<row:peer_id>/remove")
@site_admin_required
def remove(peer_id: int) -> Response:
    label = peers.by_id(peer_id).label
    peers.remove(label, actor=current_actor())
    flash(f"{label} is removed. Its associations are rejected.")
    return redirect(url_for(".index"), 303)


@bp.post("/refused/<row:caller_id>/ignore")
@site_admin_required
def ignore_caller(caller_id: int) -> Response:
    caller = refused_callers.ignore(caller_id, actor=current_actor())
    flash(f"{caller.calling} from {caller.address} is ignored. It is still refused and counted.")
    return redirect(url_for(".index"), 303)


def _refused_caller() -> Any:
    """The refused caller that the query string names, if any."""
    number = query_row("caller")
    return None if number is None else refused_callers.get(number)


def _form(form: PeerForm) -> PeerForm:
    """The form with the current projects as choices."""
    paths = container_page.project_paths(current_scope())
    form.store_to.choices = select_choices([("", "Project of the study, or Unsorted"), *zip(paths, paths, strict=True)])
    return form


def _fields(form: PeerForm) -> dict[str, Any]:
    """The submitted values as arguments of `peers.register`."""
    grants = []
    for line in split(form.projects.data) if form.sees.data == "some" else ():
        path, _, role = line.rpartition(":")  # GROUP/PROJECT:rw; read only without a role
        grants.append((path, role) if role in ("ro", "rw") else (line, "ro"))

    return {
        "label": form.label.data,
        "ae_title": form.ae_title.data,
        "host": form.host.data,
        "port": form.port.data or None,
        "addresses": split(form.addresses.data),
        "services": tuple(form.services.data or ()),
        "projects": tuple(grants),
        "all_projects": form.sees.data == "all",
        "store_to": form.store_to.data or None,
        "moves_to": split(form.moves_to.data),
        "our_ae_title": form.our_ae_title.data,
        **{name: form[name].data for name in TLS_FIELDS},
        **{name: form[name].data for name in SETTINGS},
    }


def _values(peer: dict[str, Any]) -> dict[str, Any]:
    """A peer as the values of its form."""
    granted = "\n".join(f"{one['project']}:{one['role']}" for one in peer["projects"])
    return {
        **{name: peer[name] for name in ("label", "ae_title", "host", "our_ae_title", "services")},
        **{name: peer[name] for name in SETTINGS if name != "identity_password"},
        "max_associations": str(peer["max_associations"] or ""),
        "port": str(peer["port"] or ""),
        "addresses": "\n".join(peer["addresses"]),
        "sees": "all" if peer["all_projects"] else "some" if granted else "none",
        "projects": granted,
        "store_to": peer["store_to"] or "",
        "moves_to": "\n".join(peer["moves_to"]),
    }
