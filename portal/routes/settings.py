"""Settings of the site, in sections that are saved separately."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, flash, redirect, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from portal import runtime, site_settings
from portal.access import audit_entries
from portal.ingest import disk_reserve
from portal.peers import listener_status
from portal.tls import site_certificate
from portal.users import users
from portal.web import sign_in
from portal.web.forms import Form, checkbox, choice, lines, secret_lines, text
from portal.web.render import render, send_text
from portal.web.sign_in import current_actor, site_admin_required

bp = Blueprint("settings", __name__, url_prefix="/settings")

MAX_CHANGES = 8
DUPLICATE_POLICIES = [
    ("hold", "Hold for an admin's decision, and answer success"),
    ("refuse", "Refuse with status C111"),
    ("replace", "Replace (keep old version)"),
]
IDENTITIES = [
    ("ignored", "Ignored"),
    ("refused", "Refused"),
    ("required", "Required: the user name and password of the peer"),
]
TRASH_USERS = [
    ("admins", "Users and devices, by their rights"),
    ("users", "Users only, by their rights"),
    ("nobody", "Nobody"),
]


class SiteForm(Form):
    name = text("Name of the site")
    time_zone = text("Time zone")


class DimseForm(Form):
    enabled = checkbox("DIMSE service enabled")
    ae_title = text("AE title of the site")
    host = text("Address to listen on")
    port = text("Port")
    tls_port = text("TLS port")
    require_certificates = checkbox("Require a registered certificate of every caller on the TLS port")
    echo_anyone = checkbox("Accept C-ECHO from unregistered callers")


class AssociationForm(Form):
    at_once = text("Associations at once")
    identity = choice("User identities", IDENTITIES)


class QueryForm(Form):
    answers = text("Answers to one query, at most")
    character_set = text("Assumed character set")


class ArchiveForm(Form):
    duplicates = choice("Different content, same SOP Instance UID", DUPLICATE_POLICIES)


class TrashForm(Form):
    who = choice("Who can move items to trash", TRASH_USERS)
    days = text("Purge after (days)")


class DiskForm(Form):
    floor = text("Reserved free space (GB)")


class ExportsForm(Form):
    threads = text("Parallel transfers per storage")


class VerificationForm(Form):
    enabled = checkbox("Verify the site each week")
    weekday = choice("Weekday", [(day, day.capitalize()) for day in site_settings.WEEKDAYS])
    hour = choice("Hour", [(hour, hour) for hour in site_settings.HOURS])


class HistoryForm(Form):
    jobs = text("Keep jobs and item lists (days)")
    exports = text("Keep exports, sends and imports (days)")
    associations = text("Keep associations (days)")
    callers = text("Keep refused callers (days)")
    hourly = text("Keep hourly counts (days)")


class SessionsForm(Form):
    idle = text("Idle timeout (minutes)")
    longest = text("Maximum session length (hours)")


class CreatedCertificateForm(Form):
    host = text("Name or address of this site")


class InstalledCertificateForm(Form):
    chain = lines("Certificate")
    key = secret_lines("Private key")


SECTIONS: dict[str, type[Form]] = {
    "site": SiteForm,
    "dimse": DimseForm,
    "association": AssociationForm,
    "query": QueryForm,
    "archive": ArchiveForm,
    "trash": TrashForm,
    "disk": DiskForm,
    "exports": ExportsForm,
    "verification": VerificationForm,
    "history": HistoryForm,
    "session": SessionsForm,
}
"""The first part of an option's name → the form of its section. The second part is the name of a field."""
SECTION_CONVERTER = f"any({', '.join(SECTIONS)})"


@bp.get("/")
@site_admin_required
def edit() -> Response:
    return _page({})


@bp.post(f"/<{SECTION_CONVERTER}:section>")
@site_admin_required
def save(section: str) -> Response:
    form = SECTIONS[section]()
    keys = [key for key in site_settings.OPTIONS if key.startswith(f"{section}.")]
    values = {key: form[key.partition(".")[2]].data for key in keys}
    changed = form.attempt(lambda: site_settings.change(values, actor=current_actor()))
    if changed is None:
        return _page({section: form}, status=422)

    # Port: from 11112 to 104
    changes = [
        f"{_label(key)}: from {_in_words(key, old)} to {_in_words(key, new)}" for key, (old, new) in changed.items()
    ]
    flash(f"Saved. {'; '.join(changes)}." if changes else "Nothing was changed.")
    return redirect(url_for(".edit"), 303)


@bp.get("/sign-out-all")
@site_admin_required
def ask_sign_out_all() -> Response:
    return render("settings/sign_out_all.html", counts=users.counts())


@bp.post("/sign-out-all")
@site_admin_required
def sign_out_all() -> Response:
    users.end_all_sessions(actor=current_actor())
    sign_in.begin_session(users.get(current_user.user.id))
    flash("Everybody is signed out, except in this browser.")
    return redirect(url_for(".edit"), 303)


@bp.get("/tls")
@site_admin_required
def certificate() -> Response:
    return _certificate_page()


@bp.post("/tls/create")
@site_admin_required
def create_certificate() -> Response:
    form = CreatedCertificateForm()
    host = form.host.data
    if form.attempt(lambda: site_certificate.create(host, actor=current_actor())) is None:
        return _certificate_page(created=form)
    flash(f"A self-signed certificate for {host} is in use from the next association on.")
    return redirect(url_for(".certificate"), 303)


@bp.post("/tls/install")
@site_admin_required
def install_certificate() -> Response:
    form = InstalledCertificateForm()
    chain, key = form.chain.data, form.key.data
    if form.attempt(lambda: site_certificate.install(chain, key, actor=current_actor())) is None:
        return _certificate_page(installed=form)
    flash("The certificate is in use from the next association on.")
    return redirect(url_for(".certificate"), 303)


@bp.get("/tls/certificate.pem")
@site_admin_required
def download_certificate() -> Response:
    return send_text(site_certificate.chain(), "portico.pem")


@bp.get("/tls/request.csr")
@site_admin_required
def download_signing_request() -> Response:
    return send_text(site_certificate.signing_request(), "portico.csr")


def _certificate_page(*, created: Form | None = None, installed: Form | None = None) -> Response:
    failed = created or installed
    return render(
        "settings/certificate.html",
        certificate=site_certificate.view(),
        tls_port=sign_in.site_options()["dimse.tls_port"],
        created=created or CreatedCertificateForm(formdata=None),
        installed=installed or InstalledCertificateForm(formdata=None),
        status=failed.status if failed else 200,
    )


def _page(forms: Mapping[str, Form], status: int = 200) -> Response:
    """All sections with the stored values, except those in `forms`."""
    stored = sign_in.site_options()
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for key, value in stored.items():
        section, _, name = key.partition(".")
        values.setdefault(section, {})[name] = value
    floor = values["disk"]["floor"]
    values["disk"]["floor"] = f"{floor:g}" if floor else ""
    values["dimse"]["tls_port"] = values["dimse"]["tls_port"] or ""
    kept = {section: form(formdata=None, **values[section]) for section, form in SECTIONS.items()}

    return render(
        "settings/edit.html",
        partial="settings/_listener.html",
        forms={**kept, **forms},
        zones=site_settings.time_zones(),
        listener=listener_status.current(stored),
        room=disk_reserve.archive_space(),
        least=runtime.current().min_free,
        people=users.counts(),
        changes=audit_entries.for_target("site", "", limit=MAX_CHANGES),
        named=_label,
        put=_in_words,
        status=status,
    )


def _label(key: str) -> str:
    """The label of the field of an option."""
    section, _, name = key.partition(".")
    field = getattr(SECTIONS.get(section), name, None)
    return str(field.args[0]) if field is not None else {"first_steps": "First steps"}.get(section, key)


def _in_words(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if key == "disk.floor":
        return f"{value:g} GB" if value else "minimum of this server"
    if key == "dimse.tls_port" and not value:
        return "none"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
