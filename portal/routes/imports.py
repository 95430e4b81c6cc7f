"""Imports: objects of an external storage, copied into a project."""

from typing import Any

from flask import Blueprint, redirect, url_for
from werkzeug.wrappers import Response

from portal.imports import imports, path_template
from portal.imports.lists import IMPORTS
from portal.imports.params import ImportParams
from portal.imports.request import ImportRequest
from portal.routes.exports import STATES
from portal.storage import storages
from portal.tree import container_page
from portal.web.forms import Form, choice, lines, select_choices, split, text
from portal.web.render import as_csv, list_page, query_row, query_value, render, wants_csv
from portal.web.sign_in import current_actor, current_scope, site_admin_required

bp = Blueprint("imports", __name__, url_prefix="/imports")

PLACED_BY = (
    ("headers", "DICOM headers"),
    ("manifest", "Manifest and sidecars of an export"),
    ("path", "Folders"),
)
FIELDS = ("of", "to", "prefix", "by", "path")


class ImportForm(Form):
    of = choice("From")
    to = choice("Into project")
    prefix = text("Folder")
    by = choice("Placed by", PLACED_BY)
    path = text("Path template")
    include = lines("Include if any match")
    exclude = lines("Exclude if any match")


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(IMPORTS, "imports")
    return render(
        "imports/list.html",
        partial="imports/_list.html",
        listing=list_page(IMPORTS),
        states=STATES,
        storages=_storages_for("import", "both"),
    )


@bp.get("/new")
@site_admin_required
def new() -> Response:
    like = query_row("like")
    if like is not None:
        params = ImportParams.load(imports.get(like).params)
        values = {"of": params.storage_label, "to": params.path, "prefix": params.prefix}
        values |= {"by": params.by, "path": params.template}
        values |= {"include": "\n".join(params.include), "exclude": "\n".join(params.exclude)}
        return _page(ImportForm(formdata=None, data=values))
    return _page(ImportForm(of=query_value("of", 300), to=query_value("to", 300), prefix=query_value("prefix", 1000)))


@bp.post("/new")
@site_admin_required
def dry_run() -> Response:
    """Start a dry run of the form."""
    form = ImportForm()
    wanted = ImportRequest(
        **{name: form[name].data or "" for name in FIELDS},
        include=split(form.include.data),
        exclude=split(form.exclude.data),
    )
    job = form.attempt(lambda: imports.dry_run(wanted, actor=current_actor()))
    if job is None:
        return _page(form, status=422)
    return redirect(url_for("jobs.show", job_id=job.id), 303)


@bp.post("/<row:job_id>/start")
@site_admin_required
def start(job_id: int) -> Response:
    """Start the import of a dry run."""
    job = imports.start_from_dry_run(job_id, actor=current_actor())
    return redirect(url_for("jobs.show", job_id=job.id), 303)


def _page(form: ImportForm, status: int = 200) -> Response:
    form.of.choices = select_choices((row.label, row.label) for row in _storages_for("import", "both"))
    form.to.choices = select_choices((path, path) for path in container_page.project_paths(current_scope()))
    return render(
        "imports/new.html",
        form=form,
        usual=path_template.DEFAULT_PATH,
        for_export=_storages_for("export"),
        status=status,
    )


def _storages_for(*modes: str) -> list[Any]:
    return [row for row in storages.list_all() if row.mode in modes]
