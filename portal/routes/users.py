"""Users: who may sign in."""

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from portal import users
from portal.interface_lists import USERS
from portal.routes.forms import Form, text, tick
from portal.routes.guard import current_actor, site_admin_required
from portal.routes.pages import as_csv, listed, render, wants_csv

bp = Blueprint("users", __name__, url_prefix="/users")

KINDS = (("admin", "Site admins"), ("user", "Others"), ("disabled", "Disabled"))


class NewForm(Form):
    email = text("E-mail address")
    is_admin = tick("Site admin: may change everything")


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(USERS, "users")
    return render("users/list.html", partial="users/_list.html", listing=listed(USERS), kinds=KINDS)


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


@bp.get("/<row:user_id>/new-password")
@site_admin_required
def ask_new_password(user_id: int) -> Response:
    return render("users/new_password.html", account=users.get(user_id))


@bp.post("/<row:user_id>/new-password")
@site_admin_required
def new_password(user_id: int) -> Response:
    account, password = users.new_password(user_id, actor=current_actor())
    return render("users/password.html", account=account, password=password, fresh=False, status=201)


@bp.post("/<row:user_id>/disable")
@site_admin_required
def disable(user_id: int) -> Response:
    users.disable(user_id, actor=current_actor())
    flash(f"{users.get(user_id).email} is disabled, and signed out everywhere.")
    return redirect(url_for(".index"), 303)


@bp.post("/<row:user_id>/enable")
@site_admin_required
def enable(user_id: int) -> Response:
    users.enable(user_id, actor=current_actor())
    flash(f"{users.get(user_id).email} may sign in again.")
    return redirect(url_for(".index"), 303)
