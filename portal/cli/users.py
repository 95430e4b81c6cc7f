"""`portal user`: user accounts and their access."""

import sys
from typing import Any

import click

from portal.access.actors import operator
from portal.cli.context import on_site
from portal.cli.printing import Answer
from portal.errors import BadValue
from portal.models import User
from portal.users import grants, users

MAX_PASSWORD_BYTES = 4096


@click.group("user")
def user() -> None:
    """Users who sign in with an e-mail address and a password."""


@user.command("add")
@click.argument("email")
@click.option("--admin", "is_admin", is_flag=True, help="Make the user a site admin.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
@on_site
def add(email: str, is_admin: bool, password_stdin: bool) -> Answer:
    """Create a user. Without --password-stdin, a random password is generated and shown only once."""
    password = first_line("password") if password_stdin else None
    added, generated = users.add(email, password, is_admin, actor=operator())
    view: dict[str, Any] = {"id": added.id, "email": added.email, "admin": added.is_admin}
    message = f"{'Admin' if added.is_admin else 'User'} {added.email} created."
    if generated:
        view["password"] = generated
        message += f"\nPassword (shown only once): {generated}"
    return Answer(view=view, message=message)


@user.command("list")
@on_site
def list_() -> Answer:
    """List the users by e-mail address."""
    return Answer(
        view=[_view(row) for row in users.list_all()],
        columns=("email", "admin", "disabled", "access", "last_seen"),
        empty="No users yet. Create one with: portal user add EMAIL --admin",
    )


@user.command("password")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
@on_site
def password(email: str, password_stdin: bool) -> Answer:
    """Reset a user's password and end their sessions. Without --password-stdin, a random one is shown only once.

    It also lets the only admin of a site back in after losing the password.
    """
    chosen = first_line("password") if password_stdin else None
    changed, generated = users.reset_password(users.by_email(email).id, chosen, actor=operator())
    message = f"The password of {changed.email} was changed."
    if chosen is None:
        message += f"\nPassword (shown only once): {generated}"
    if changed.disabled:
        message += f"\nThe account is disabled. Enable it with: portal user enable {changed.email}"
    view = _view(changed)
    return Answer(view=view if chosen else {**view, "password": generated}, message=message)


@user.command("disable")
@click.argument("email")
@on_site
def disable(email: str) -> Answer:
    """End a user's sessions and refuse new ones."""
    row = users.by_email(email)
    users.disable(row.id, actor=operator())
    return Answer(view=_view(users.get(row.id)), message=f"User {row.email} disabled.")


@user.command("enable")
@click.argument("email")
@on_site
def enable(email: str) -> Answer:
    """Let a disabled user sign in again."""
    row = users.by_email(email)
    users.enable(row.id, actor=operator())
    return Answer(view=_view(users.get(row.id)), message=f"User {row.email} enabled.")


@user.command("grant")
@click.argument("email")
@click.argument("place", metavar="PLACE")
@click.option(
    "--role", default="ro", metavar="ROLE", help="ro: read; rw: read and write; admin: rw, and manage. Default: ro."
)
@on_site
def grant(email: str, place: str, role: str) -> Answer:
    """Grant a user access to PLACE: a group ID, GROUP/PROJECT, or '*' for the whole site. Also changes the role."""
    row = users.by_email(email)
    given = grants.add(row.id, place, role, actor=operator())
    return Answer(view=_view(row), message=f"User {row.email} has {given.role} access to {given.place}.")


@user.command("revoke")
@click.argument("email")
@click.argument("place", metavar="PLACE")
@on_site
def revoke(email: str, place: str) -> Answer:
    """Remove a user's access to PLACE, as shown by `portal user list`."""
    row = users.by_email(email)
    grants.remove_by_place(row.id, place, actor=operator())
    return Answer(view=_view(row), message=f"User {row.email} no longer has access to {place}.")


def _view(row: User) -> dict[str, Any]:
    return {
        "id": row.id,
        "email": row.email,
        "admin": row.is_admin,
        "disabled": row.disabled,
        "must_change_password": row.must_change_password,
        "access": [f"{given.place}:{given.role}" for given in grants.for_user(row.id)],
        "created": row.created,
        "last_seen": row.last_seen,
    }


def first_line(what: str) -> str:
    """The first line of standard input, without the line end. Raises BadValue if there is none."""
    line = sys.stdin.buffer.readline(MAX_PASSWORD_BYTES + 1)
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise BadValue(f"The {what} on standard input is not UTF-8 text.") from error
    if not text or len(line) > MAX_PASSWORD_BYTES:
        raise BadValue(f"Standard input has no {what} of 1 to {MAX_PASSWORD_BYTES} characters on its first line.")
    return text


commands = (user,)
