"""Interfaces, first tab: devices and their keys."""

from typing import Any

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from portal import hourly_charts
from portal.access import audit_entries
from portal.devices import api_keys, device_status, devices, key_lists, key_narrowing
from portal.devices.device_uploads import uploads
from portal.devices.lists import DEVICES
from portal.errors import Missing
from portal.web import formats
from portal.web.forms import Form, choice, text
from portal.web.key_form import KeyForm, new_key_form
from portal.web.render import as_csv, list_page, render, wants_csv
from portal.web.sign_in import current_actor, site_admin_required

bp = Blueprint("devices", __name__, url_prefix="/interfaces/devices")

TYPES = [("", "Reported by the device"), ("connector", "Connector"), ("importer", "Importer")]
STATES = (
    ("ok", "OK"),
    ("missing", "Missing"),
    ("error", "Error"),
    ("seen", "Seen, interval not reported"),
    ("never", "Never seen"),
    ("disabled", "Disabled"),
)


UPLOAD_SPANS = (("", "All"), ("day", "Last 24 hours"), ("week", "Last 7 days"), ("month", "Last 30 days"))
KEY_PAGES = {"show": "devices.show_key", "rotate": "devices.ask_rotate", "revoke": "devices.ask_revoke"}
FULL_ACCESS = "Everything"


class NewForm(Form):
    label = text("Label")
    type = choice("Type", TYPES)
    owner = text("Owner")


class RenameForm(Form):
    label = text("Label")


class OwnerForm(Form):
    owner = text("Owner")


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(DEVICES, "devices")
    return render("devices/list.html", partial="devices/_list.html", listing=list_page(DEVICES), states=STATES)


@bp.get("/new")
@site_admin_required
def new() -> Response:
    form = NewForm(owner=current_actor().name)
    return render("devices/new.html", form=form, owners=devices.possible_owners())


@bp.post("/new")
@site_admin_required
def add() -> Response:
    form = NewForm()
    owner = form.owner.data if form.owner.raw_data else None
    device = form.attempt(
        lambda: devices.add(form.label.data, form.type.data or None, owner=owner, actor=current_actor())
    )
    if device is None:
        return render("devices/new.html", form=form, owners=devices.possible_owners(), status=422)
    flash(f"{device.label} is added. Generate an API key for it.")
    return redirect(url_for(".show", device_id=device.id), 303)


@bp.get("/<row:device_id>")
@site_admin_required
def show(device_id: int) -> Response:
    return _page(device_id)


@bp.get("/<row:device_id>/uploads")
@site_admin_required
def recent_uploads(device_id: int) -> Response:
    device = devices.get_even_removed(device_id)
    whole = uploads(device.id)
    if wants_csv():
        return as_csv(whole, "uploads")
    return render(
        "devices/uploads.html",
        partial="devices/_uploads.html",
        device=device,
        listing=list_page(whole),
        spans=UPLOAD_SPANS,
    )


@bp.post("/<row:device_id>/keys")
@site_admin_required
def issue(device_id: int) -> Response:
    device = devices.get(device_id)
    form = KeyForm()
    issued = form.attempt(lambda: api_keys.issue(device, **form.terms(), actor=current_actor()))
    if issued is None:
        return _page(device_id, form, status=422)
    return _page(device_id, issued=issued, status=201)


@bp.get("/<row:device_id>/keys/<key_id>")
@site_admin_required
def show_key(device_id: int, key_id: str) -> Response:
    return _key_page("keys/show.html", device_id, key_id)


@bp.get("/<row:device_id>/keys/<key_id>/rotate")
@site_admin_required
def ask_rotate(device_id: int, key_id: str) -> Response:
    device = devices.get(device_id)
    form = new_key_form(api_keys.newest_id(device), api_keys.get(device, key_id).name)
    return _key_page("keys/rotate.html", device_id, key_id, form=form)


@bp.post("/<row:device_id>/keys/<key_id>/rotate")
@site_admin_required
def rotate(device_id: int, key_id: str) -> Response:
    device = devices.get(device_id)
    form = KeyForm()
    issued = form.attempt(lambda: api_keys.rotate(device, key_id, **form.renewal(), actor=current_actor()))
    if issued is None:
        return _key_page("keys/rotate.html", device_id, key_id, form=form, status=422)
    return _page(device_id, issued=issued, status=201)


@bp.get("/<row:device_id>/keys/<key_id>/revoke")
@site_admin_required
def ask_revoke(device_id: int, key_id: str) -> Response:
    return _key_page("keys/revoke.html", device_id, key_id, back=url_for(".show", device_id=device_id))


@bp.post("/<row:device_id>/keys/<key_id>/revoke")
@site_admin_required
def revoke(device_id: int, key_id: str) -> Response:
    api_keys.revoke(devices.get(device_id), key_id, actor=current_actor())
    flash(f"Key {key_id} is revoked. Requests with it are refused from now on.")
    return redirect(url_for(".show", device_id=device_id), 303)


@bp.get("/<row:device_id>/owner")
@site_admin_required
def ask_owner(device_id: int) -> Response:
    device = devices.get(device_id)
    form = OwnerForm(owner=device.sponsor.email if device.sponsor else "")
    return render("devices/owner.html", device=device, form=form, owners=devices.possible_owners())


@bp.post("/<row:device_id>/owner")
@site_admin_required
def change_owner(device_id: int) -> Response:
    device = devices.get(device_id)
    form = OwnerForm()
    changed = form.attempt(lambda: devices.change_owner(device_id, form.owner.data, actor=current_actor()))
    if changed is None:
        owners = devices.possible_owners()
        return render("devices/owner.html", device=device, form=form, owners=owners, status=422)
    flash(f"{form.owner.data} is the owner of {changed.label}.")
    return redirect(url_for(".show", device_id=device_id), 303)


@bp.get("/<row:device_id>/remove")
@site_admin_required
def ask_remove(device_id: int) -> Response:
    device = devices.get(device_id)
    return render("devices/remove.html", device=device, live=api_keys.count_live(device))


@bp.post("/<row:device_id>/remove")
@site_admin_required
def remove(device_id: int) -> Response:
    device = devices.get(device_id)
    devices.remove(device_id, actor=current_actor())
    flash(f"{device.label} is removed, and its keys are revoked. Its uploads stay.")
    return redirect(url_for(".index"), 303)


@bp.get("/<row:device_id>/rename")
@site_admin_required
def edit(device_id: int) -> Response:
    device = devices.get(device_id)
    return render("devices/rename.html", device=device, form=RenameForm(label=device.label))


@bp.post("/<row:device_id>/rename")
@site_admin_required
def rename(device_id: int) -> Response:
    device = devices.get(device_id)
    form = RenameForm()
    renamed = form.attempt(lambda: devices.rename(device_id, form.label.data, actor=current_actor()))
    if renamed is None:
        return render("devices/rename.html", device=device, form=form, status=422)
    flash(f"{device.label} is renamed to {renamed.label}." if renamed.label != device.label else "Nothing was changed.")
    return redirect(url_for(".show", device_id=device_id), 303)


@bp.post("/<row:device_id>/disable")
@site_admin_required
def disable(device_id: int) -> Response:
    device = devices.disable(device_id, actor=current_actor())
    flash(f"{device.label} is disabled. Its keys are refused until it is enabled.")
    return redirect(url_for(".show", device_id=device_id), 303)


@bp.post("/<row:device_id>/enable")
@site_admin_required
def enable(device_id: int) -> Response:
    device = devices.enable(device_id, actor=current_actor())
    flash(f"{device.label} is enabled. Its keys work again.")
    return redirect(url_for(".show", device_id=device_id), 303)


def _page(device_id: int, form: KeyForm | None = None, *, status: int = 200, issued: Any = None) -> Response:
    device = devices.get_even_removed(device_id)
    form = form or new_key_form()
    form.newest.data = api_keys.newest_id(device)
    return render(
        "devices/show.html",
        device=device,
        state=device_status.state(device),
        keys=key_lists.of_owner(device),
        at=_key_pages(device),
        places=key_narrowing.places_offered(current_actor()),
        day=hourly_charts.for_devices([device.id])[device.id],
        week=hourly_charts.week_for_device(device.id, formats.zone()),
        files=devices.recent_files(device),
        acts=audit_entries.for_target("device", device.id),
        form=form,
        issued=issued,
        status=status,
    )


def _key_page(template: str, device_id: int, key_id: str, *, status: int = 200, **context: Any) -> Response:
    device = devices.get_even_removed(device_id)
    keys = key_lists.of_owner(device)
    row = keys.find(key_id)
    if row is None:
        raise Missing(f"{device.label} has no such key.")
    crumbs = (("Interfaces", url_for(".index")), ("Devices", url_for(".index")))
    return render(
        template,
        row=row,
        old=keys.find(row.key.replaces),
        at=_key_pages(device),
        owner=device.label,
        crumbs=(*crumbs, (device.label, url_for(".show", device_id=device.id))),
        section_name="interfaces",
        status=status,
        **context,
    )


def _key_pages(device: Any) -> dict[str, Any]:
    """The endpoints of a key's pages; the keys of a removed device are only shown."""
    offered = KEY_PAGES if device.removed is None else {"show": KEY_PAGES["show"]}
    return {**offered, "values": {"device_id": device.id}, "full": FULL_ACCESS}
