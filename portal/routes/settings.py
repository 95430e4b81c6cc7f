"""Settings: what an admin changes about the site."""

from typing import Any

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from portal import site
from portal.routes.forms import Form, choice, text, tick
from portal.routes.guard import current_actor, site_admin_required
from portal.routes.pages import render

bp = Blueprint("settings", __name__, url_prefix="/settings")

DUPLICATES = [
    ("hold", "Hold it until an admin decides, and answer success"),
    ("refuse", "Refuse it with C111"),
    ("replace", "Show the new one, and keep the old one as a version"),
]


class SettingsForm(Form):
    name = text("Name of the site")
    time_zone = text("Time zone")
    enabled = tick("DIMSE service enabled")
    ae_title = text("AE title of the site")
    host = text("Address to listen on")
    port = text("Port")
    echo_anyone = tick("Answer C-ECHO to anyone")
    duplicates = choice("Other content under a SOP Instance UID that is here", DUPLICATES)


KEYS = {
    "name": "site.name",
    "time_zone": "site.time_zone",
    "enabled": "dimse.enabled",
    "ae_title": "dimse.ae_title",
    "host": "dimse.host",
    "port": "dimse.port",
    "echo_anyone": "dimse.echo_anyone",
    "duplicates": "archive.duplicates",
}


@bp.get("/")
@site_admin_required
def edit() -> Response:
    stored = site.every()
    form = SettingsForm(**{name: stored[key] for name, key in KEYS.items()})
    return render("settings/edit.html", form=form, zones=site.time_zones())


@bp.post("/")
@site_admin_required
def save() -> Response:
    form = SettingsForm()
    if form.attempt(lambda: _put(form)) is None:
        return render("settings/edit.html", form=form, zones=site.time_zones(), status=422)
    flash("The settings are saved. The listener follows within seconds.")
    return redirect(url_for(".edit"), 303)


def _put(form: SettingsForm) -> bool:
    values: dict[str, Any] = {key: form[name].data for name, key in KEYS.items()}
    site.put(values, actor=current_actor())
    return True
