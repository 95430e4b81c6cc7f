"""People who sign in: their accounts, passwords and sessions."""

import logging
import secrets
from functools import lru_cache
from typing import Any, NoReturn

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from peewee import Case, IntegrityError, fn

from portal import runtime, site_settings
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import BadValue, Missing, NotAllowed, NotSignedIn, Taken
from portal.models import User, now, skip_if_disk_full, writing

log = logging.getLogger(__name__)

MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH = 8, 200
SIGN_IN_REFUSED = (
    "This address and this password do not belong together. Check both, or ask a site admin for a new password."
)


def add(email: str, password: str | None = None, is_admin: bool = False, *, actor: Actor) -> tuple[User, str | None]:
    """A new account; without a password one is made and returned, this once. Raises BadValue, Taken."""
    rights.require_admin(actor)
    address = _email(email)
    generated = secrets.token_urlsafe(15) if password is None else None
    hashed = _hasher().hash(_password(generated or password or "", address))
    with writing():
        try:
            user = User.create(email=address, password=hashed, is_admin=is_admin)
        except IntegrityError as error:
            raise Taken(f"{address} has an account already.", field="email") from error
        audit.record(actor, "user:added", "user", user.id, email=address, is_admin=is_admin)
    return user, generated


def sign_in(email: str, password: str, *, address: str) -> User:
    """The user whom this password belongs to. Raises NotSignedIn, after the same time whatever is wrong."""
    user: User | None = User.get_or_none(User.email == _normal(email))
    decoy = _decoy()
    known = _matches(user.password if user else decoy, password)
    if user is None or not known or user.disabled:
        _refuse(user, address)
    fresh = {User.password: _hasher().hash(password)} if _hasher().check_needs_rehash(user.password) else {}
    with (
        skip_if_disk_full(f"the sign-in of user {user.id}"),
        writing(),
    ):  # else nobody could sign in who can free some space
        User.update({User.last_seen: now(), **fresh}).where(User.id == user.id).execute()
        audit.record(actor(user, address), "user:signed_in", "user", user.id)
    return user


def sign_out(user: User, *, address: str) -> None:
    """End every session of this user, so that a copied cookie is worth nothing afterwards."""
    with writing():
        _end_sessions(user.id)
        audit.record(actor(user, address), "user:signed_out", "user", user.id)


def change_password(user: User, old: str, new: str, *, address: str) -> User:
    """The user with the new password; all sessions that there were have ended. Raises BadValue."""
    if not _matches(user.password, old):
        raise BadValue("This is not your password of now. Nothing was changed.", field="old")
    if old == new:
        raise BadValue("The new password is the old one. Choose another.", field="new")
    hashed = _hasher().hash(_password(new, user.email, field="new"))
    with writing():
        User.update(password=hashed).where(User.id == user.id).execute()
        _end_sessions(user.id)
        audit.record(actor(user, address), "user:password_changed", "user", user.id)
    return get(user.id)


def change_time_zone(user: User, name: str, *, address: str) -> User:
    """The user with another time zone to read times in; an empty name is the site's. Raises BadValue."""
    cleaned = site_settings.clean_time_zone(name.strip()) if name.strip() else ""
    with writing():
        if User.update(time_zone=cleaned).where(User.id == user.id, User.time_zone != cleaned).execute():
            before = user.time_zone
            audit.record(actor(user, address), "user:time_zone_changed", "user", user.id, before=before, after=cleaned)
    return get(user.id)


def reset_password(user_id: int, password: str | None = None, *, actor: Actor) -> tuple[User, str]:
    """Give a user who cannot sign in another password, and return it; their sessions end. Without one it is random.

    Raises Missing, and BadValue for a password that may not be one.
    """
    rights.require_admin(actor)
    user = get(user_id)
    chosen = secrets.token_urlsafe(15) if password is None else password
    hashed = _hasher().hash(_password(chosen, user.email))
    with writing():
        User.update(password=hashed).where(User.id == user.id).execute()
        _end_sessions(user.id)
        audit.record(actor, "user:password_reset", "user", user.id)
    return user, chosen


def disable(user_id: int, *, actor: Actor) -> None:
    """End the sessions of a user and refuse new ones. Raises NotAllowed for oneself and for the last admin."""
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
    """End every session of every user, the actor's own too; returns how many accounts there are."""
    rights.require_admin(actor)
    with writing():
        count: int = User.update(session_epoch=User.session_epoch + 1).execute()
        audit.record(actor, "session:all_ended", "site", "", users=count)
    return count


def set_admin(user_id: int, is_admin: bool, *, actor: Actor) -> None:
    """Make a user a site admin, or one no longer. Raises NotAllowed for oneself and for the last admin."""
    rights.require_admin(actor)
    user = get(user_id)
    if user.is_admin == is_admin:
        return
    if not is_admin and actor.type == "user" and actor.id == str(user.id):
        raise NotAllowed("You cannot take your own rights away. Ask another site admin.")
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
        raise NotAllowed(f"{user.email} is the last site admin. Make another one first.")


def get(user_id: int) -> User:
    """Raises Missing."""
    user: User | None = User.get_or_none(User.id == user_id)
    if user is None:
        raise Missing(f"There is no user {user_id}.")
    return user


def by_email(email: str) -> User:
    """The user with this e-mail address, in upper or lower case. Raises Missing."""
    user: User | None = User.get_or_none(User.email == _normal(email))
    if user is None:
        raise Missing(f"There is no user {email[:254]!r}. `portal user list` shows them.")
    return user


def find_id(email: str) -> int | None:
    """The number of the account of this address; None where there is none."""
    user: User | None = User.get_or_none(User.email == _normal(email))
    return None if user is None else user.id


def list_all() -> list[User]:
    """All users by address."""
    return list(User.select().order_by(User.email))


def counts() -> dict[str, int]:
    """How many users there are: admin, user, disabled."""
    kind = Case(None, [(User.disabled, "disabled"), (User.is_admin, "admin")], "user")
    rows: Any = User.select(kind, fn.COUNT(User.id)).group_by(kind)
    return dict(rows.tuples())


def session_id(user: User) -> str:
    """What a session cookie says: it holds until the user's sessions are ended."""
    return f"{user.id}.{user.session_epoch}"


def for_session(session: str) -> User | None:
    """The user of a session that still holds."""
    number, _, epoch = session.partition(".")
    if not (number.isdecimal() and epoch.isdecimal()):
        return None
    user: User | None = User.get_or_none(User.id == int(number), User.session_epoch == int(epoch), ~User.disabled)
    return user


def actor(user: User, address: str) -> Actor:
    """The user as the one who asks for something in the browser."""
    return Actor(
        type="user", id=str(user.id), name=user.email, via="web", address=address, is_admin=bool(user.is_admin)
    )


def _refuse(user: User | None, address: str) -> NoReturn:
    """What was typed is not kept where no account has it: it may well be a password."""
    log.warning("sign-in refused from %s", address)
    if user is not None:
        with skip_if_disk_full(f"a refused sign-in of user {user.id}"), writing():
            audit.record(actor(user, address), "user:sign_in_refused", "user", user.id)
    raise NotSignedIn(SIGN_IN_REFUSED)


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


def _matches(hashed: str, password: str) -> bool:
    try:
        return _hasher().verify(hashed, password[: MAX_PASSWORD_LENGTH + 1])
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False


def _hasher() -> PasswordHasher:
    return _cheap() if runtime.current().cheap_passwords else _dear()


@lru_cache(maxsize=1)
def _dear() -> PasswordHasher:
    """Argon2id with 32 MiB, above the least that OWASP names, and bearable where ten people sign in at once."""
    return PasswordHasher(time_cost=3, memory_cost=32 * 1024, parallelism=1)


@lru_cache(maxsize=1)
def _cheap() -> PasswordHasher:
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def _decoy() -> str:
    """A hash that nobody's password fits; an unknown address takes as long as a wrong password by it."""
    return _decoy_of(_hasher())


@lru_cache(maxsize=2)
def _decoy_of(hasher: PasswordHasher) -> str:
    return hasher.hash(secrets.token_urlsafe(15))
