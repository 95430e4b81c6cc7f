"""Interfaces, third tab: external storage, where exports go."""

from typing import Any

from flask import Blueprint, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from portal import jobs, runtime
from portal.errors import BadValue
from portal.interface_lists import STORAGES
from portal.routes.forms import Form, choice, text
from portal.routes.guard import current_actor, site_admin_required
from portal.routes.pages import as_csv, listed, render, wants_csv
from portal.storage import storages

bp = Blueprint("storages", __name__, url_prefix="/interfaces/storages")

MODES = [("export", "Export"), ("import", "Import"), ("both", "Export and import")]
STATES = (("ok", "OK"), ("degraded", "Degraded"), ("failed", "Failed"), ("untested", "Never tested"))
FIELDS = ("label", "path", "prefix", "mode", "visible")


class StorageForm(Form):
    label = text("Label")
    path = text("Folder")
    prefix = text("Prefix")
    mode = choice("Used for", MODES)
    visible = text("Visible to")


class SureForm(Form):
    sure = text("Label")


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(STORAGES, "storages")
    return render("storages/list.html", partial="storages/_list.html", listing=listed(STORAGES), states=STATES)


@bp.get("/new")
@site_admin_required
def new() -> Response:
    return render("storages/new.html", form=StorageForm(visible="site"), roots=_roots())


@bp.post("/new")
@site_admin_required
def add() -> Response:
    form = StorageForm()
    storage = form.attempt(lambda: storages.add(form.label.data, "fs", actor=current_actor(), **_fields(form)))
    if storage is None:
        return render("storages/new.html", form=form, roots=_roots(), status=422)
    return _saved(storage)


@bp.get("/<row:storage_id>")
@site_admin_required
def show(storage_id: int) -> Response:
    storage = storages.view(storages.by_id(storage_id))
    return _page(
        storage, StorageForm(**{name: storage[name] for name in ("label", "path", "prefix", "mode", "visible")})
    )


@bp.post("/<row:storage_id>")
@site_admin_required
def save(storage_id: int) -> Response:
    storage = storages.view(storages.by_id(storage_id))
    form = StorageForm()
    changed = form.attempt(
        lambda: storages.edit(storage["label"], actor=current_actor(), label=form.label.data, **_fields(form))
    )
    if changed is None:
        return _page(storage, form, status=422)
    return _saved(changed)


@bp.post("/<row:storage_id>/test")
@site_admin_required
def test(storage_id: int) -> Response:
    return _tested(storages.by_id(storage_id))


@bp.get("/<row:storage_id>/remove")
@site_admin_required
def ask_remove(storage_id: int) -> Response:
    return render("storages/remove.html", storage=storages.view(storages.by_id(storage_id)), form=SureForm())


@bp.post("/<row:storage_id>/remove")
@site_admin_required
def remove(storage_id: int) -> Response:
    storage = storages.by_id(storage_id)
    form = SureForm()
    if not form.attempt(lambda: _remove(storage.label, form.sure.data)):
        return render("storages/remove.html", storage=storages.view(storage), form=form, status=422)
    flash(f"{storage.label} is removed. What was written there stays there.")
    return redirect(url_for(".index"), 303)


def _remove(label: str, typed: str) -> bool:
    if typed != label:
        raise BadValue(f"Type {label} to confirm. Nothing was removed.", field="sure")
    storages.remove(label, actor=current_actor())
    return True


def _saved(storage: Any) -> Response:
    """Save and test, or only save."""
    if "save_only" not in request.form:
        return _tested(storage)
    flash(f"{storage.label} is saved. It is tested before each export.")
    return redirect(url_for(".show", storage_id=storage.id), 303)


def _tested(storage: Any) -> Response:
    job_id = storages.request_test(storage.label, actor=current_actor())
    return redirect(url_for(".show", storage_id=storage.id, job=job_id), 303)


def _fields(form: StorageForm) -> dict[str, Any]:
    return {name: form[name].data for name in FIELDS if name != "label"}


def _roots() -> tuple[str, ...]:
    return tuple(str(root) for root in runtime.current().storage_roots)


def _page(storage: dict[str, Any], form: StorageForm, *, status: int = 200) -> Response:
    job = _named_test(storage)
    return render(
        "storages/show.html",
        partial="storages/_test.html",
        storage=storage,
        form=form,
        job=job and jobs.view(job),
        roots=_roots(),
        status=status,
    )


def _named_test(storage: dict[str, Any]) -> Any:
    """The test that the address names, if it was of this storage."""
    named = request.args.get("job", "")
    if not (named.isascii() and named.isdecimal() and len(named) < 19):
        return None
    job = jobs.get(int(named))
    return job if job.kind == "storage_test" and job.params.get("storage") == storage["id"] else None
