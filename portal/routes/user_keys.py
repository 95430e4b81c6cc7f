"""The API keys of users: a user's own, and those of a user as site admins see them."""

from typing import Any

from flask import Blueprint, flash, redirect, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from portal.devices import api_keys, key_lists, key_narrowing
from portal.errors import Missing
from portal.users import users
from portal.web.key_form import KeyForm, new_key_form
from portal.web.render import render
from portal.web.sign_in import current_actor, signed_in_required, site_admin_required

bp = Blueprint("user_keys", __name__)

OWN_ACCESS = "The rights of the user"
OWN_PAGES = {"show": "user_keys.show", "rotate": "user_keys.ask_rotate", "revoke": "user_keys.ask_revoke"}
ADMIN_PAGES = {"show": "user_keys.show_of_user", "revoke": "user_keys.ask_revoke_of_user"}


@bp.get("/profile/keys")
@signed_in_required
def index() -> Response:
    return _own_page()


@bp.post("/profile/keys")
@signed_in_required
def issue() -> Response:
    form = KeyForm()
    issued = form.attempt(lambda: api_keys.issue(current_user.user, **form.terms(), actor=current_actor()))
    if issued is None:
        return _own_page(form, status=422)
    return _own_page(issued=issued, status=201)


@bp.get("/profile/keys/<key_id>")
@signed_in_required
def show(key_id: str) -> Response:
    return _key_page("keys/show.html", current_user.user, key_id)


@bp.get("/profile/keys/<key_id>/rotate")
@signed_in_required
def ask_rotate(key_id: str) -> Response:
    user = current_user.user
    form = new_key_form(api_keys.newest_id(user), api_keys.get(user, key_id).name)
    return _key_page("keys/rotate.html", user, key_id, form=form)


@bp.post("/profile/keys/<key_id>/rotate")
@signed_in_required
def rotate(key_id: str) -> Response:
    user, form = current_user.user, KeyForm()
    issued = form.attempt(lambda: api_keys.rotate(user, key_id, **form.renewal(), actor=current_actor()))
    if issued is None:
        return _key_page("keys/rotate.html", user, key_id, form=form, status=422)
    return _own_page(issued=issued, status=201)


@bp.get("/profile/keys/<key_id>/revoke")
@signed_in_required
def ask_revoke(key_id: str) -> Response:
    return _key_page("keys/revoke.html", current_user.user, key_id, back=url_for(".index"))


@bp.post("/profile/keys/<key_id>/revoke")
@signed_in_required
def revoke(key_id: str) -> Response:
    api_keys.revoke(current_user.user, key_id, actor=current_actor())
    flash(f"Key {key_id} is revoked. Requests with it are refused from now on.")
    return redirect(url_for(".index"), 303)


@bp.get("/users/<row:user_id>/keys/<key_id>")
@site_admin_required
def show_of_user(user_id: int, key_id: str) -> Response:
    return _key_page("keys/show.html", users.get(user_id), key_id, as_admin=True)


@bp.get("/users/<row:user_id>/keys/<key_id>/revoke")
@site_admin_required
def ask_revoke_of_user(user_id: int, key_id: str) -> Response:
    back = url_for("users.show", user_id=user_id)
    return _key_page("keys/revoke.html", users.get(user_id), key_id, as_admin=True, back=back)


@bp.post("/users/<row:user_id>/keys/<key_id>/revoke")
@site_admin_required
def revoke_of_user(user_id: int, key_id: str) -> Response:
    user = users.get(user_id)
    api_keys.revoke(user, key_id, actor=current_actor())
    flash(f"Key {key_id} of {user.email} is revoked. Requests with it are refused from now on.")
    return redirect(url_for("users.show", user_id=user_id), 303)


def own_pages() -> dict[str, Any]:
    """The endpoints of the keys of the user who is signed in."""
    return {**OWN_PAGES, "values": {}, "full": OWN_ACCESS}


def pages_for_admins(user_id: int) -> dict[str, Any]:
    """The endpoints of a user's keys for site admins, who see and revoke them."""
    return {**ADMIN_PAGES, "values": {"user_id": user_id}, "full": OWN_ACCESS}


def _own_page(form: KeyForm | None = None, *, status: int = 200, issued: Any = None) -> Response:
    user = current_user.user
    form = form or new_key_form()
    form.newest.data = api_keys.newest_id(user)
    return render(
        "keys/own.html",
        keys=key_lists.of_owner(user),
        at=own_pages(),
        places=key_narrowing.places_offered(current_actor()),
        form=form,
        issued=issued,
        status=status,
    )


def _key_page(
    template: str, user: Any, key_id: str, *, as_admin: bool = False, status: int = 200, **context: Any
) -> Response:
    keys = key_lists.of_owner(user)
    row = keys.find(key_id)
    if row is None:
        raise Missing(f"{user.email} has no such key.")
    own_crumbs = (("Profile", url_for("session.profile")), ("API keys", url_for(".index")))
    admin_crumbs = (("Users", url_for("users.index")), (user.email, url_for("users.show", user_id=user.id)))
    return render(
        template,
        row=row,
        old=keys.find(row.key.replaces),
        at=pages_for_admins(user.id) if as_admin else own_pages(),
        owner=user.email,
        crumbs=admin_crumbs if as_admin else own_crumbs,
        section_name="users" if as_admin else "",
        status=status,
        **context,
    )
