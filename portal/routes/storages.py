"""Interfaces, third tab: external storage."""

from typing import Any

from flask import Blueprint, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from portal import runtime
from portal.access import audit_entries
from portal.errors import BadValue
from portal.exports import schedules
from portal.jobs import jobs
from portal.routes.storage_forms import ConfirmForm, blank, filled, is_provider, submitted, values_of, with_fixed_place
from portal.storage import credentials, health, history, providers, storages
from portal.storage.lists import STORAGES
from portal.web import formats
from portal.web.render import as_csv, list_page, query_row, query_value, render, wants_csv, wants_part
from portal.web.sign_in import current_actor, site_admin_required

bp = Blueprint("storages", __name__, url_prefix="/interfaces/storages")

STATES = (("ok", "OK"), ("degraded", "Degraded"), ("failed", "Failed"), ("untested", "Never tested"))
MAX_LISTED = 8
"""Exports, imports and schedules that the page of a storage lists."""


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(STORAGES, "storages")
    return render("storages/list.html", partial="storages/_list.html", listing=list_page(STORAGES), states=STATES)


@bp.get("/new")
@site_admin_required
def new() -> Response:
    provider = query_value("provider", 20)
    if not is_provider(provider):
        return render("storages/choose.html", providers=providers.PROVIDERS)
    return _form_page(blank(provider))


@bp.post("/new")
@site_admin_required
def add() -> Response:
    provider = request.form.get("provider", "")
    if not is_provider(provider):
        return render("storages/choose.html", providers=providers.PROVIDERS, status=422)
    form = submitted(provider)
    fields, secret = values_of(form)
    storage = form.attempt(lambda: storages.add(**fields, secret=secret, actor=current_actor()))
    if storage is None:
        return _form_page(form, status=422)
    return _saved(storage)


@bp.get("/<row:storage_id>")
@site_admin_required
def show(storage_id: int) -> Response:
    row = storages.by_id(storage_id)
    shown: dict[str, Any] = {"storage": storages.view(row), "job": _test(row), "next_test": health.next_test(row)}
    if wants_part():
        return render("storages/_test.html", partial="storages/_test.html", **shown)
    return render(
        "storages/show.html",
        **shown,
        provider=providers.PROVIDERS[row.provider],
        credentials=credentials.describe(row),
        holds=history.job_totals([row.id]).get(row.id, history.NO_TOTALS),
        month=history.last_30_days(row.id, row.mode, formats.zone()),
        last=[jobs.view(one) for one in history.recent_transfers(row.id, limit=MAX_LISTED)],
        schedules=schedules.for_storage(row.id),
        acts=audit_entries.for_target("storage", row.id),
    )


@bp.get("/<row:storage_id>/edit")
@site_admin_required
def edit(storage_id: int) -> Response:
    row = storages.by_id(storage_id)
    provider = query_value("provider", 20)
    return _form_page(filled(row, provider if is_provider(provider) else row.provider), row)


@bp.post("/<row:storage_id>/edit")
@site_admin_required
def save(storage_id: int) -> Response:
    row = storages.by_id(storage_id)
    provider = request.form.get("provider", "")
    form = submitted(provider if is_provider(provider) else row.provider)
    fields, secret = values_of(form)
    changed = form.attempt(lambda: storages.edit(row.label, **fields, secret=secret, actor=current_actor()))
    if changed is None:
        return _form_page(form, row, status=422)
    return _saved(changed)


@bp.post("/<row:storage_id>/test")
@site_admin_required
def test(storage_id: int) -> Response:
    return _start_test(storages.by_id(storage_id))


@bp.get("/<row:storage_id>/remove")
@site_admin_required
def ask_remove(storage_id: int) -> Response:
    return _remove_page(storages.by_id(storage_id), ConfirmForm())


@bp.post("/<row:storage_id>/remove")
@site_admin_required
def remove(storage_id: int) -> Response:
    storage = storages.by_id(storage_id)
    form = ConfirmForm()

    def confirm_and_remove() -> bool:
        if form.sure.data != storage.label:
            raise BadValue(f"Type {storage.label} to confirm. Nothing was removed.", field="sure")
        storages.remove(storage.label, actor=current_actor())
        return True

    if not form.attempt(confirm_and_remove):
        return _remove_page(storage, form, status=422)
    flash(f"{storage.label} is removed. The objects in it are kept.")
    return redirect(url_for(".index"), 303)


def _remove_page(row: Any, form: ConfirmForm, *, status: int = 200) -> Response:
    return render(
        "storages/remove.html",
        storage=storages.view(row),
        credentials=credentials.describe(row),
        holds=history.job_totals([row.id]).get(row.id, history.NO_TOTALS),
        brought=history.job_totals([row.id], "import").get(row.id, history.NO_TOTALS),
        schedules=schedules.for_storage(row.id),
        working=[jobs.view(job) for job in storages.active_jobs(row)],
        most=MAX_LISTED,
        form=form,
        status=status,
    )


def _saved(storage: Any) -> Response:
    """Redirect to the page of a saved storage, with a new test unless the user chose to save only."""
    if "save_only" not in request.form:
        return _start_test(storage)
    flash(f"{storage.label} is saved. It is tested before each export.")
    return redirect(url_for(".show", storage_id=storage.id), 303)


def _start_test(storage: Any) -> Response:
    job_id = storages.request_test(storage.label, actor=current_actor())
    return redirect(url_for(".show", storage_id=storage.id, job=job_id), 303)


def _form_page(form: Any, row: Any = None, *, status: int = 200) -> Response:
    """The form of one provider, for a new storage or an existing one (`row`)."""
    is_fixed = row is not None and row.prefix_locked
    if is_fixed:
        form = with_fixed_place(form, row)
    is_same = row is not None and row.provider == form.provider.data
    return render(
        "storages/edit.html" if row else "storages/new.html",
        partial="storages/_of_provider.html",
        form=form,
        storage=row and storages.view(row),
        chosen=providers.PROVIDERS[form.provider.data],
        providers=providers.PROVIDERS,
        credentials=credentials.describe(row) if is_same else None,
        is_fixed=is_fixed,
        roots=tuple(str(root) for root in runtime.current().storage_roots),
        status=status,
    )


def _test(row: Any) -> dict[str, Any] | None:
    """The test in the query string, else the last one, which may be part of an export."""
    number = query_row("job")
    job = jobs.get(number) if number is not None else None
    if job is None or not (job.kind == "storage_test" and job.storage == row.id):
        job = history.last_test(row.id)
        if export := history.export_that_tested(row, job):
            return history.export_test_view(export)
    return jobs.view(job) if job else None
