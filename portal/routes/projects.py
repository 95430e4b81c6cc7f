"""Projects and groups: created, edited, and who has access to them."""

from typing import Any

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from portal.access import permissions, rights
from portal.errors import BadValue
from portal.tree import containers, groups, projects
from portal.users import grants, project_access
from portal.web.forms import Form, choice, select_choices, text
from portal.web.render import as_csv, list_page, render, wants_csv
from portal.web.sign_in import current_actor, current_scope, is_admin, signed_in_required

bp = Blueprint("projects", __name__, url_prefix="/data/projects")

NEW_GROUP = ("", "New group")
ROLES = list(permissions.USER_ROLES.items())
WHO_TYPES = (("user", "Users"), ("peer", "Peers"))


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


class AccessForm(Form):
    email = text("E-mail address")
    place = choice("Group or project")
    role = choice("Access", ROLES)


@bp.get("/new")
@signed_in_required
def new() -> Response:
    return _new(NewForm())


@bp.post("/new")
@signed_in_required
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
@signed_in_required
def edit(project_id: int) -> Response:
    project = _project(project_id)
    rights.require_manager(current_actor(), project_id)
    return _edit(project, form=EditForm(label=project.label, ae_title=project.ae_title))


@bp.post("/<row:project_id>/edit")
@signed_in_required
def save(project_id: int) -> Response:
    project = _project(project_id)
    rights.require_manager(current_actor(), project_id)
    form = EditForm()
    changed = form.attempt(
        lambda: projects.edit(
            project_id,
            label=form.label.data,
            ae_title=form.ae_title.data if is_admin() else project.ae_title or "",
            actor=current_actor(),
        )
    )
    if changed is None:
        return _edit(project, form=form, status=422)
    flash(f"{changed.group.code}/{changed.label} is saved.")
    return redirect(url_for("data.place", level="project", number=project_id), 303)


@bp.post("/<row:project_id>/group")
@signed_in_required
def save_group(project_id: int) -> Response:
    project = _project(project_id)
    rights.require_group_admin(current_actor(), project.group_id)
    form = GroupForm()
    group = form.attempt(lambda: groups.edit(project.group.code, label=form.group_label.data, actor=current_actor()))
    if group is None:
        return _edit(project, group_form=form, status=422)
    flash(f"Group {group.code} is saved.")
    return redirect(url_for("data.place", level="project", number=project_id), 303)


@bp.get("/<row:project_id>/access")
@signed_in_required
def access(project_id: int) -> Response:
    return _access(_project(project_id), AccessForm(formdata=None, role="ro"))


@bp.post("/<row:project_id>/access")
@signed_in_required
def grant(project_id: int) -> Response:
    project = _project(project_id)
    form, actor = AccessForm(), current_actor()
    rights.require_manager(actor, project_id)
    email, place, role = form.email.data, form.place.data or _path(project), form.role.data or ""
    granted = form.attempt(lambda: grants.add_by_email(email, place, role, actor=actor))
    if granted is None:
        return _access(project, form, status=422)
    flash(f"{email} can now {granted.in_words}.")
    return redirect(url_for(".access", project_id=project_id), 303)


@bp.post("/<row:project_id>/access/<row:grant_id>/remove")
@signed_in_required
def remove_grant(project_id: int, grant_id: int) -> Response:
    removed = project_access.remove(_project(project_id), grant_id, actor=current_actor())
    flash(f"{removed.email} can no longer {removed.in_words}.")
    return redirect(url_for(".access", project_id=project_id), 303)


def _project(project_id: int) -> Any:
    return containers.get("project", project_id, current_scope())


def _new(form: NewForm, *, status: int = 200) -> Response:
    rows = groups.where_projects_are_created(actor=current_actor())
    names = {row.code: row.code if row.label == row.code else f"{row.code} ({row.label})" for row in rows}
    form.group.choices = select_choices([*names.items(), *([NEW_GROUP] if is_admin() else [])])
    return render("projects/new.html", form=form, status=status)


def _edit(
    project: Any, *, form: EditForm | None = None, group_form: GroupForm | None = None, status: int = 200
) -> Response:
    """Both forms of the page; an error in one of them does not affect the other."""
    own = form or EditForm(formdata=None, label=project.label, ae_title=project.ae_title)
    of_group = group_form or GroupForm(formdata=None, group_label=project.group.label)
    return render(
        "projects/edit.html",
        project=project,
        form=own,
        group_form=of_group,
        may_edit_group=rights.may_edit_group(current_actor(), project.group_id),
        status=status,
    )


def _access(project: Any, form: AccessForm, *, status: int = 200) -> Response:
    """Who has access to a project: by name for who may write to it, for others how many."""
    scope, actor, path = current_scope(), current_actor(), _path(project)
    found = project_access.summary(project)
    if not scope.writes(project.id):
        return render("projects/access_in_numbers.html", project=project, path=path, found=found)
    whole = project_access.grants_of(project, actor=actor)
    if wants_csv():
        return as_csv(whole, "access")
    places = [path, *([project.group.code] if rights.may_edit_group(actor, project.group_id) else [])]
    form.place.choices = select_choices((place, place) for place in places)
    return render(
        "projects/access.html",
        partial="projects/_access.html",
        project=project,
        path=path,
        found=found,
        listing=list_page(whole),
        kinds=WHO_TYPES,
        how=project_access.HOW,
        form=form,
        may_grant=project.id in scope.manages,
        changes=project_access.changes(project) if project.id in scope.manages else (),
        status=status,
    )


def _path(project: Any) -> str:
    return f"{project.group.code}/{project.label}"
