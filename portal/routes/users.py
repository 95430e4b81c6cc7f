"""Users: accounts and their access."""

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from portal.access import audit_entries, permissions
from portal.devices import key_lists
from portal.routes import user_keys
from portal.users import effective_access, grants, users
from portal.users.lists import USERS
from portal.web.forms import Form, checkbox, choice, text
from portal.web.render import as_csv, list_page, render, wants_csv
from portal.web.sign_in import current_actor, site_admin_required

bp = Blueprint("users", __name__, url_prefix="/users")

KINDS = (("admin", "Site admins"), ("user", "Users"), ("disabled", "Disabled"))


ROLES = list(permissions.USER_ROLES.items())
MAX_EVENTS = 15


class NewForm(Form):
    email = text("E-mail address")
    is_admin = checkbox("Site admin (full access)")


class GrantForm(Form):
    place = text("Group or project")
    role = choice("Access", ROLES)


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(USERS, "users")
    return render("users/list.html", partial="users/_list.html", listing=list_page(USERS), kinds=KINDS)


@bp.get("/new")
@site_admin_required
def new() -> Response:
    return render("users/new.html", form=NewForm())


@bp.post("/new")
@site_admin_required
def add() -> Response:
    form = NewForm()
    added = form.attempt(lambda: users.add(form.email.data, is_admin=form.is_admin.data, actor=current_actor()))
    if added is None:
        return render("users/new.html", form=form, status=422)
    account, password = added
    return render("users/password.html", account=account, password=password, fresh=True, status=201)


@bp.get("/<row:user_id>")
@site_admin_required
def show(user_id: int) -> Response:
    return _page(user_id, GrantForm(formdata=None, role="ro"))


@bp.post("/<row:user_id>/grants")
@site_admin_required
def grant(user_id: int) -> Response:
    form = GrantForm()
    granted = form.attempt(lambda: grants.add(user_id, form.place.data, form.role.data or "", actor=current_actor()))
    if granted is None:
        return _page(user_id, form, status=422)
    flash(f"{users.get(user_id).email} can now {granted.in_words}.")
    return redirect(url_for(".show", user_id=user_id), 303)


@bp.post("/<row:user_id>/grants/<row:grant_id>/take")
@site_admin_required
def remove_grant(user_id: int, grant_id: int) -> Response:
    removed = grants.remove(user_id, grant_id, actor=current_actor())
    flash(f"{users.get(user_id).email} can no longer {removed.in_words}.")
    return redirect(url_for(".show", user_id=user_id), 303)


@bp.get("/<row:user_id>/role")
@site_admin_required
def ask_role(user_id: int) -> Response:
    return render("users/role.html", account=users.get(user_id), given=grants.for_user(user_id))


@bp.post("/<row:user_id>/role")
@site_admin_required
def change_role(user_id: int) -> Response:
    is_admin = not users.get(user_id).is_admin
    users.set_admin(user_id, is_admin, actor=current_actor())
    became = "a site admin" if is_admin else "no longer a site admin, and sees granted projects"
    flash(f"{users.get(user_id).email} is {became}.")
    return redirect(url_for(".show", user_id=user_id), 303)


@bp.get("/<row:user_id>/new-password")
@site_admin_required
def ask_new_password(user_id: int) -> Response:
    return render("users/new_password.html", account=users.get(user_id))


@bp.post("/<row:user_id>/new-password")
@site_admin_required
def new_password(user_id: int) -> Response:
    account, password = users.reset_password(user_id, actor=current_actor())
    return render("users/password.html", account=account, password=password, fresh=False, status=201)


@bp.post("/<row:user_id>/disable")
@site_admin_required
def disable(user_id: int) -> Response:
    users.disable(user_id, actor=current_actor())
    flash(f"{users.get(user_id).email} is disabled and signed out everywhere.")
    return redirect(url_for(".show", user_id=user_id), 303)


@bp.post("/<row:user_id>/enable")
@site_admin_required
def enable(user_id: int) -> Response:
    users.enable(user_id, actor=current_actor())
    flash(f"{users.get(user_id).email} is enabled.")
    return redirect(url_for(".show", user_id=user_id), 303)


def _page(user_id: int, form: GrantForm, status: int = 200) -> Response:
    account = users.get(user_id)
    return render(
        "users/show.html",
        account=account,
        form=form,
        given=grants.for_user(user_id),
        places=grants.grantable_places(),
        roles=dict(ROLES),
        access=effective_access.for_user(account),
        acts=audit_entries.for_user(user_id, limit=MAX_EVENTS),
        keys=key_lists.of_owner(account),
        at=user_keys.pages_for_admins(user_id),
        status=status,
    )
