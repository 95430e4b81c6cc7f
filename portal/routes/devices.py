"""Interfaces, first tab: devices and their keys."""

from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from portal import hourly_charts
from portal.access import audit_entries
from portal.devices import api_keys, device_status, devices
from portal.devices.lists import DEVICES
from portal.errors import Missing
from portal.web import formats
from portal.web.forms import Form, choice, end_of_day, hidden, text
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


class NewForm(Form):
    label = text("Label")
    type = choice("Type", TYPES)


class RenameForm(Form):
    label = text("Label")


class KeyForm(Form):
    name = text("Name")
    expires = text("Expires on")
    newest = hidden()


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(DEVICES, "devices")
    return render("devices/list.html", partial="devices/_list.html", listing=list_page(DEVICES), states=STATES)


@bp.get("/new")
@site_admin_required
def new() -> Response:
    return render("devices/new.html", form=NewForm())


@bp.post("/new")
@site_admin_required
def add() -> Response:
    form = NewForm()
    device = form.attempt(lambda: devices.add(form.label.data, form.type.data or None, actor=current_actor()))
    if device is None:
        return render("devices/new.html", form=form, status=422)
    flash(f"{device.label} is added. Generate an API key for it.")
    return redirect(url_for(".show", device_id=device.id), 303)


@bp.get("/<row:device_id>")
@site_admin_required
def show(device_id: int) -> Response:
    form = KeyForm(expires=_next_year())
    return _page(device_id, form)


@bp.post("/<row:device_id>/keys")
@site_admin_required
def issue(device_id: int) -> Response:
    device = devices.get(device_id)
    form = KeyForm()
    issued = form.attempt(
        lambda: api_keys.issue(
            device,
            name=form.name.data,
            expires=end_of_day(form.expires.data, field="expires"),
            after=form.newest.data,
            actor=current_actor(),
        )
    )
    if issued is None:
        return _page(device_id, form, status=422)
    return _page(device_id, KeyForm(formdata=None, expires=_next_year()), issued=issued, status=201)


@bp.get("/<row:device_id>/keys/<key_id>/revoke")
@site_admin_required
def ask_revoke(device_id: int, key_id: str) -> Response:
    device = devices.get(device_id)
    key = next((row for row in api_keys.for_owner(device) if row.key_id == key_id), None)
    if key is None:
        raise Missing(f"{device.label} has no such key.")
    return render("devices/revoke.html", device=device, key=key)


@bp.post("/<row:device_id>/keys/<key_id>/revoke")
@site_admin_required
def revoke(device_id: int, key_id: str) -> Response:
    api_keys.revoke(devices.get(device_id), key_id, actor=current_actor())
    flash(f"Key {key_id} is revoked. Requests with it are refused from now on.")
    return redirect(url_for(".show", device_id=device_id), 303)


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


def _page(device_id: int, form: KeyForm, *, status: int = 200, issued: Any = None) -> Response:
    device = devices.get(device_id)
    form.newest.data = api_keys.newest_id(device)
    key_states = [(key, api_keys.state(key)) for key in api_keys.for_owner(device)]
    return render(
        "devices/show.html",
        device=device,
        state=device_status.state(device),
        keys=key_states,
        live=sum(state in api_keys.LIVE_STATES for _, state in key_states),
        most=api_keys.MAX_LIVE_KEYS,
        day=hourly_charts.for_devices([device.id])[device.id],
        week=hourly_charts.week_for_device(device.id, formats.zone()),
        files=devices.recent_files(device),
        acts=audit_entries.for_target("device", device.id),
        form=form,
        issued=issued,
        status=status,
    )


def _next_year() -> str:
    """The date one year from today, as a date field has it."""
    return f"{datetime.now(formats.zone()) + timedelta(days=365):%Y-%m-%d}"
