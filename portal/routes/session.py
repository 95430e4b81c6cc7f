"""Signing in and out; the user's own password and time zone."""

import hashlib
from typing import Any

from flask import Blueprint, flash, g, redirect, request, session, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from portal import site_settings
from portal.devices import key_lists
from portal.errors import BadValue
from portal.routes import user_keys
from portal.users import users
from portal.web import known_browsers
from portal.web import sign_in as web_sign_in
from portal.web.forms import Form, secret, text
from portal.web.render import render
from portal.web.sign_in import limiter, signed_in_required

bp = Blueprint("session", __name__)

BY_ADDRESS = "30 per 10 minutes"
BY_ACCOUNT_AND_ADDRESS = "10 per 10 minutes"
BY_ACCOUNT = "100 per hour"
BY_KNOWN_BROWSER = "10 per 10 minutes"


class SignInForm(Form):
    email = text("E-mail address")
    password = secret("Password")


class PasswordForm(Form):
    old = secret("Current password")
    new = secret("New password")
    again = secret("New password, again")


class ProfileForm(Form):
    time_zone = text("Time zone")


def _account() -> str:
    """The rate limit key of an account, of fixed length for any input."""
    typed = request.form.get("email", "").strip().lower()
    return f"account:{hashlib.sha256(typed.encode(errors='replace')).hexdigest()}"


def _account_and_address() -> str:
    return f"{_account()}:{web_sign_in.client_address()}"


def _known_browser() -> str:
    return f"browser:{known_browsers.browser()}"


def _is_known() -> bool:
    """Whether the account has signed in with this browser before: then its attempts are counted separately."""
    if "is_known" not in g:
        g.is_known = known_browsers.is_known(users.find_id(request.form.get("email", "")))
    known: bool = g.is_known
    return known


def _is_unknown() -> bool:
    return not _is_known()


def _failed(response: Response) -> bool:
    return response.status_code in (401, 422)


@bp.get("/sign-in")
def sign_in() -> Response:
    if current_user.is_authenticated:
        return redirect(_next_page(), 303)
    return render("session/sign_in.html", form=SignInForm(), next=request.args.get("next", ""))


@bp.post("/sign-in")
@limiter.limit(BY_ADDRESS, deduct_when=_failed, exempt_when=_is_known)
@limiter.limit(BY_ACCOUNT_AND_ADDRESS, key_func=_account_and_address, deduct_when=_failed, exempt_when=_is_known)
@limiter.limit(BY_ACCOUNT, key_func=_account, deduct_when=_failed, exempt_when=_is_known)
@limiter.limit(BY_KNOWN_BROWSER, key_func=_known_browser, deduct_when=_failed, exempt_when=_is_unknown)
def check_sign_in() -> Response:
    form = SignInForm()
    user = form.attempt(
        lambda: users.sign_in(form.email.data, form.password.data, address=web_sign_in.client_address()),
    )
    if user is None:
        return render("session/sign_in.html", form=form, next=request.form.get("next", ""), status=401)
    web_sign_in.begin_session(user)
    return known_browsers.remember(redirect(_next_page(), 303), user.id)


@bp.post("/sign-out")
@signed_in_required
def sign_out() -> Response:
    users.sign_out(current_user.user, address=web_sign_in.client_address())
    session.clear()
    flash("You are signed out in all browsers.")
    return redirect(url_for("session.sign_in"), 303)


@bp.get("/profile")
@signed_in_required
def profile() -> Response:
    return _profile(ProfileForm(time_zone=current_user.user.time_zone))


@bp.post("/profile")
@signed_in_required
def save_profile() -> Response:
    form = ProfileForm()
    user = form.attempt(
        lambda: users.change_time_zone(current_user.user, form.time_zone.data, address=web_sign_in.client_address())
    )
    if user is None:
        return _profile(form)
    flash(f"Times are shown in {user.time_zone or 'the time zone of the site'} from now on.")
    return redirect(url_for(".profile"), 303)


def _profile(form: ProfileForm) -> Response:
    zones, usual = site_settings.time_zones(), site_settings.get("site.time_zone")
    keys, at = key_lists.of_owner(current_user.user), user_keys.own_pages()
    return render("session/profile.html", form=form, zones=zones, usual=usual, keys=keys, at=at, status=form.status)


@bp.get("/password")
@signed_in_required
def password() -> Response:
    return render("session/password.html", form=PasswordForm())


@bp.post("/password")
@signed_in_required
@limiter.limit(BY_KNOWN_BROWSER, key_func=lambda: f"password:{current_user.user.id}", deduct_when=_failed)
def change_password() -> Response:
    form = PasswordForm()

    def change() -> Any:
        if form.new.data != form.again.data:
            raise BadValue("The passwords do not match. Enter the new password twice.", field="again")
        address = web_sign_in.client_address()
        return users.change_password(current_user.user, form.old.data, form.new.data, address=address)

    user = form.attempt(change)
    if user is None:
        return render("session/password.html", form=form, status=422)
    web_sign_in.begin_session(user)
    flash("Your password is changed. Your other sessions have ended.")
    return redirect(url_for("home.index"), 303)


def _next_page() -> str:
    """The page that was requested before signing in, if it is one of this site; else Home."""
    return web_sign_in.local_path(request.values.get("next", "")) or url_for("home.index")
