"""`portal user`: people who sign in."""

import sys
from typing import Any

import click

from portal import users
from portal.cli.door import on_site
from portal.cli.printing import Answer
from portal.errors import BadValue
from portal.provenance import operator

LONGEST = 4096


@click.group("user")
def user() -> None:
    """People who sign in with an e-mail address and a password."""


@user.command("add")
@click.argument("email")
@click.option("--admin", "is_admin", is_flag=True, help="A site admin: may change everything.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
@on_site
def add(email: str, is_admin: bool, password_stdin: bool) -> Answer:
    """Add a user; without --password-stdin, with a random password that is printed this once."""
    password = first_line("password") if password_stdin else None
    added, generated = users.add(email, password, is_admin, actor=operator())
    view: dict[str, Any] = {"id": added.id, "email": added.email, "admin": added.is_admin}
    sentence = f"{'Admin' if added.is_admin else 'User'} {added.email} added."
    if generated:
        view["password"] = generated
        sentence += f"\nPassword, shown this once: {generated}"
    return Answer(view=view, sentence=sentence)


def first_line(what: str) -> str:
    """A secret from standard input, without the line's end. Raises BadValue where there is none."""
    line = sys.stdin.buffer.readline(LONGEST + 1)
    try:
        text = line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise BadValue(f"The {what} on standard input is no UTF-8 text.") from error
    if not text or len(line) > LONGEST:
        raise BadValue(f"Standard input has no {what} of 1 to {LONGEST} characters on its first line.")
    return text


commands = (user,)
