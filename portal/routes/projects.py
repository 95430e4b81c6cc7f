"""Projects and groups: created and edited by site admins."""

from typing import Any

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from portal.access.rights import UNKNOWN_GROUP
from portal.errors import BadValue
from portal.tree import containers, groups, projects
from portal.web.forms import Form, choice, select_choices, text
from portal.web.render import render
from portal.web.sign_in import current_actor, current_scope, site_admin_required

bp = Blueprint("projects", __name__, url_prefix="/data/projects")

NEW_GROUP = ("", "New group")


class NewForm(Form):
    group = choice("Group")
    code = text("Code of the new group")
    label = text("Label")
    ae_title = text("AE title")


class EditForm(Form):
    label = text("Label")
    ae_title = text("AE title")


class GroupForm(Form):
    group_label = text("Group label")


@bp.get("/new")
@site_admin_required
def new() -> Response:
    return _new(NewForm())


@bp.post("/new")
@site_admin_required
def add() -> Response:
    form = NewForm()

    def create() -> Any:
        label, ae_title, actor = form.label.data, form.ae_title.data, current_actor()
        if form.group.data:
            return projects.add(f"{form.group.data}/{label}", ae_title, actor=actor)
        if not form.code.data:
            raise BadValue("Choose a group, or enter the code of a new group.", field="code")
        return projects.add_in_new_group(form.code.data, label, ae_title, actor=actor)

    project = form.attempt(create)
    if project is None:
        return _new(form, status=422)
    flash(f"{project.group.code}/{project.label} is created.")
    return redirect(url_for("data.place", level="project", number=project.id), 303)


@bp.get("/<row:project_id>/edit")
@site_admin_required
def edit(project_id: int) -> Response:
    project = _project(project_id)
    return _edit(project, form=EditForm(label=project.label, ae_title=project.ae_title))


@bp.post("/<row:project_id>/edit")
@site_admin_required
def save(project_id: int) -> Response:
    project = _project(project_id)
    form = EditForm()
    changed = form.attempt(
        lambda: projects.edit(project_id, label=form.label.data, ae_title=form.ae_title.data, actor=current_actor())
    )
    if changed is None:
        return _edit(project, form=form, status=422)
    flash(f"{changed.group.code}/{changed.label} is saved.")
    return redirect(url_for("data.place", level="project", number=project_id), 303)


@bp.post("/<row:project_id>/group")
@site_admin_required
def save_group(project_id: int) -> Response:
    project = _project(project_id)
    form = GroupForm()
    group = form.attempt(lambda: groups.edit(project.group.code, label=form.group_label.data, actor=current_actor()))
    if group is None:
        return _edit(project, group_form=form, status=422)
    flash(f"Group {group.code} is saved.")
    return redirect(url_for("data.place", level="project", number=project_id), 303)


def _project(project_id: int) -> Any:
    return containers.get("project", project_id, current_scope())


def _new(form: NewForm, *, status: int = 200) -> Response:
    rows = [row for row in groups.list_all(actor=current_actor()).rows if row.code != UNKNOWN_GROUP]
    names = {row.code: row.code if row.label == row.code else f"{row.code} ({row.label})" for row in rows}
    form.group.choices = select_choices([*names.items(), NEW_GROUP])
    return render("projects/new.html", form=form, status=status)


def _edit(
    project: Any, *, form: EditForm | None = None, group_form: GroupForm | None = None, status: int = 200
) -> Response:
    """Both forms of the page; an error in one of them does not affect the other."""
    own = form or EditForm(formdata=None, label=project.label, ae_title=project.ae_title)
    of_group = group_form or GroupForm(formdata=None, group_label=project.group.label)
    return render("projects/edit.html", project=project, form=own, group_form=of_group, status=status)
