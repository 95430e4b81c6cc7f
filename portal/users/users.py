"""User accounts: passwords, roles and sessions."""

import logging
import secrets
from typing import Any

from peewee import Case, IntegrityError, fn

from portal import site_settings
from portal.access import audit, passwords, rights
from portal.access.actors import Actor
from portal.access.passwords import MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH
from portal.errors import BadValue, Missing, NotAllowed, NotSignedIn, Taken
from portal.models import User, now, skip_if_disk_full, writing

log = logging.getLogger(__name__)

SIGN_IN_REFUSED = "Wrong e-mail address or password. Check both, or ask a site admin for a new password."


def add(email: str, password: str | None = None, is_admin: bool = False, *, actor: Actor) -> tuple[User, str | None]:
    """A new account, and the password that was generated for it if none was given. Raises BadValue, Taken.

    A generated password must be changed at the first sign-in.
    """
    rights.require_admin(actor)
    address = _email(email)
    generated = secrets.token_urlsafe(15) if password is None else None
    hashed = passwords.hasher().hash(_password(generated or password or "", address))
    with writing():
        try:
            user = User.create(
                email=address, password=hashed, is_admin=is_admin, must_change_password=generated is not None
            )
        except IntegrityError as error:
            raise Taken(f"{address} already has an account.", field="email") from error
        audit.record(actor, "user:added", "user", user.id, email=address, is_admin=is_admin)
    return user, generated


def sign_in(email: str, password: str, *, address: str) -> User:
    """The user with this password. Raises NotSignedIn, after the same time whatever is wrong."""
    user: User | None = User.get_or_none(User.email == _normal(email))
    is_known = passwords.matches(user.password if user else passwords.decoy(), password)
    if user is None or not is_known or user.disabled:
        # What was typed is not recorded without an account: it may be a password.
        log.warning("sign-in refused from %s", address)
        if user is not None:
            with skip_if_disk_full(f"a refused sign-in of user {user.id}"), writing():
                audit.record(actor(user, address), "user:sign_in_refused", "user", user.id)
        raise NotSignedIn(SIGN_IN_REFUSED)
    rehashed = (
        {User.password: passwords.hasher().hash(password)}
        if passwords.hasher().check_needs_rehash(user.password)
        else {}
    )
    # On a full disk the sign-in is not recorded, so that an admin can still sign in to free some space.
    with skip_if_disk_full(f"the sign-in of user {user.id}"), writing():
        User.update({User.last_seen: now(), **rehashed}).where(User.id == user.id).execute()
        audit.record(actor(user, address), "user:signed_in", "user", user.id)
    return user


def sign_out(user: User, *, address: str) -> None:
    """End every session of this user, so that a copied cookie no longer works."""
    with writing():
        _end_sessions(user.id)
        audit.record(actor(user, address), "user:signed_out", "user", user.id)


def change_password(user: User, old: str, new: str, *, address: str) -> User:
    """Change the password and end all sessions of the user. Raises BadValue."""
    if not passwords.matches(user.password, old):
        raise BadValue("Wrong current password. Nothing was changed.", field="old")
    if old == new:
        raise BadValue("The new password is the same as the current one. Choose another.", field="new")
    hashed = passwords.hasher().hash(_password(new, user.email, field="new"))
    with writing():
        User.update(password=hashed, must_change_password=False).where(User.id == user.id).execute()
        _end_sessions(user.id)
        audit.record(actor(user, address), "user:password_changed", "user", user.id)
    return get(user.id)


def change_time_zone(user: User, name: str, *, address: str) -> User:
    """Change the time zone in which the user reads times; empty for the site's. Raises BadValue."""
    cleaned = site_settings.clean_time_zone(name.strip()) if name.strip() else ""
    with writing():
        if User.update(time_zone=cleaned).where(User.id == user.id, User.time_zone != cleaned).execute():
            before = user.time_zone
            audit.record(actor(user, address), "user:time_zone_changed", "user", user.id, before=before, after=cleaned)
    return get(user.id)


def reset_password(user_id: int, password: str | None = None, *, actor: Actor) -> tuple[User, str]:
    """Set a new password, random if none is given, and return it; the user's sessions end.

    A random one must be changed at the next sign-in. Raises Missing, and BadValue for an invalid password.
    """
    rights.require_admin(actor)
    user = get(user_id)
    chosen = secrets.token_urlsafe(15) if password is None else password
    hashed = passwords.hasher().hash(_password(chosen, user.email))
    with writing():
        must_change = password is None
        User.update(password=hashed, must_change_password=must_change).where(User.id == user.id).execute()
        _end_sessions(user.id)
        audit.record(actor, "user:password_reset", "user", user.id)
    return user, chosen


def disable(user_id: int, *, actor: Actor) -> None:
    """End the sessions of a user and refuse new ones. Raises NotAllowed for the actor and for the last admin."""
    rights.require_admin(actor)
    user = get(user_id)
    if actor.type == "user" and actor.id == str(user.id):
        raise NotAllowed("You cannot disable your own account. Ask another site admin.")
    with writing():
        _refuse_last_admin(user)
        if User.update(disabled=True).where(User.id == user.id, ~User.disabled).execute():
            _end_sessions(user.id)
            audit.record(actor, "user:disabled", "user", user.id)


def enable(user_id: int, *, actor: Actor) -> None:
    rights.require_admin(actor)
    user = get(user_id)
    with writing():
        if User.update(disabled=False).where(User.id == user.id, User.disabled).execute():
            audit.record(actor, "user:enabled", "user", user.id)


def end_all_sessions(*, actor: Actor) -> int:
    """End every session of every user, including the actor's; returns the number of accounts."""
    rights.require_admin(actor)
    with writing():
        count: int = User.update(session_epoch=User.session_epoch + 1).execute()
        audit.record(actor, "session:all_ended", "site", "", users=count)
    return count


def set_admin(user_id: int, is_admin: bool, *, actor: Actor) -> None:
    """Grant or remove the site admin role. Raises NotAllowed for the actor and for the last admin."""
    rights.require_admin(actor)
    user = get(user_id)
    if user.is_admin == is_admin:
        return
    if not is_admin and actor.type == "user" and actor.id == str(user.id):
        raise NotAllowed("You cannot remove your own admin role. Ask another site admin.")
    with writing():
        if not is_admin:
            _refuse_last_admin(user)
        User.update(is_admin=is_admin).where(User.id == user.id).execute()
        audit.record(actor, "user:role_changed", "user", user.id, before=_role(user.is_admin), after=_role(is_admin))


def _role(is_admin: bool) -> str:
    return "site admin" if is_admin else "user"


def _refuse_last_admin(user: User) -> None:
    others = User.select().where(User.is_admin, ~User.disabled, User.id != user.id)
    if user.is_admin and not others.exists():
        raise NotAllowed(f"{user.email} is the last site admin. Create another one first.")


def get(user_id: int) -> User:
    """Raises Missing."""
    user: User | None = User.get_or_none(User.id == user_id)
    if user is None:
        raise Missing(f"There is no user {user_id}.")
    return user


def by_email(email: str) -> User:
    """The user with this e-mail address, ignoring case. Raises Missing."""
    user: User | None = User.get_or_none(User.email == _normal(email))
    if user is None:
        raise Missing(f"There is no user {email[:254]!r}. `portal user list` shows them.")
    return user


def find_id(email: str) -> int | None:
    """The id of the user with this address; None if there is none."""
    user: User | None = User.get_or_none(User.email == _normal(email))
    return None if user is None else user.id


def list_all() -> list[User]:
    """All users by e-mail address."""
    return list(User.select().order_by(User.email))


def counts() -> dict[str, int]:
    """The number of users by kind: admin, user, disabled."""
    kind = Case(None, [(User.disabled, "disabled"), (User.is_admin, "admin")], "user")
    rows: Any = User.select(kind, fn.COUNT(User.id)).group_by(kind)
    return dict(rows.tuples())


def session_id(user: User) -> str:
    """The content of a session cookie, valid until the user's sessions are ended."""
    return f"{user.id}.{user.session_epoch}"


def for_session(session: str) -> User | None:
    """The user of a session that is still valid."""
    number, _, epoch = session.partition(".")
    if not (number.isdecimal() and epoch.isdecimal()):
        return None
    user: User | None = User.get_or_none(User.id == int(number), User.session_epoch == int(epoch), ~User.disabled)
    return user


def actor(user: User, address: str) -> Actor:
    """The user as the actor of a request from the browser."""
    return Actor(
        type="user", id=str(user.id), name=user.email, via="web", address=address, is_admin=bool(user.is_admin)
    )


def _end_sessions(user_id: int) -> None:
    User.update(session_epoch=User.session_epoch + 1).where(User.id == user_id).execute()


def _normal(email: str) -> str:
    return email.strip().lower()


def _email(text: str) -> str:
    email = _normal(text)
    name, _, host = email.partition("@")
    if not (name and host) or "@" in host or not email.isprintable() or " " in email or len(email) > 254:
        raise BadValue("An e-mail address looks like name@site.example.", field="email")
    return email


def _password(text: str, email: str, *, field: str = "password") -> str:
    if len(text) < MIN_PASSWORD_LENGTH:
        raise BadValue(f"A password has at least {MIN_PASSWORD_LENGTH} characters.", field=field)
    if len(text) > MAX_PASSWORD_LENGTH:
        raise BadValue(f"A password has at most {MAX_PASSWORD_LENGTH} characters.", field=field)
    if text.lower() == email:
        raise BadValue("The password must not be the e-mail address.", field=field)
    return text
