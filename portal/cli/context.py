"""What all commands share: the site and its options, the printed answer, the messages of errors."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from peewee import DatabaseError, IntegrityError

from portal import migrations, models, runtime, settings
from portal.cli.printing import Answer, print_answer
from portal.errors import BadValue, Missing, PortalError
from portal.processes import lost_database

Command = Callable[..., Answer]
MAX_TEXT_SIZE = 64 << 10
ROW_ID = click.IntRange(1, 2**63 - 1)


class NotAvailable(PortalError):
    """A documented command or option that this release does not have."""


def data_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--data`, as every command takes it."""
    return click.option(
        "--data",
        metavar="DIR",
        callback=_folder,
        help="The site's data folder. Default: $PORTAL_DATA or ./data",
    )(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`, as every command takes it that prints an answer."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON value and nothing else.")(function)


def on_site(function: Command) -> Callable[..., int]:
    """Run a command on an existing site, with a database connection, and print its answer."""

    @data_option
    @json_option
    @functools.wraps(function)
    def run(*args: Any, data: Path | None, as_json: bool, **kwargs: Any) -> int:
        chosen = settings.load(data)
        require_site(chosen)
        runtime.start(chosen)
        with runtime.connection():
            given = function(*args, **kwargs)
        return print_answer(given, as_json=as_json)

    return run


def require_site(chosen: settings.Settings) -> None:
    """Raise Missing unless the folder has a site of this release."""
    require_database(chosen)
    runtime.start(chosen)
    if migrations.pending():
        raise Missing(f"The site in {chosen.data} is from an older release. Run `portal migrate` first.")


def require_database(chosen: settings.Settings) -> None:
    """Raise Missing unless there is a database that this account may write.

    A command never creates a site, so that a mistyped `--data` is noticed.
    """
    models.bind(chosen.database)
    lost_database.require_present(chosen)
    if not chosen.database.is_file():
        raise Missing(
            f"There is no site in {chosen.data}. Create one with `portal up`, or give its folder with --data."
        )
    if not os.access(chosen.database, os.W_OK):
        raise Missing(f"{chosen.database} cannot be written by this account. Run the command as the site's owner.")


def read_text(path: str) -> str:
    """The text of a small file that an option names. Raises BadValue for another one, OSError if it cannot be read."""
    with open(path, "rb") as file:
        content = file.read(MAX_TEXT_SIZE + 1)
    if len(content) > MAX_TEXT_SIZE:
        raise BadValue(f"{path} has more than {MAX_TEXT_SIZE:,} bytes.")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BadValue(f"{path} is no text file.") from None


def message_for(error: Exception) -> str | None:
    """The message for an error that ended a command; None for a bug, which keeps its traceback."""
    if isinstance(error, PortalError):
        return error.message
    if isinstance(error, DatabaseError | OSError) and runtime.is_full(error):
        return "The disk is full. Free some space, then try again."
    if isinstance(error, DatabaseError) and runtime.is_damaged(error):
        return f"The site's database is damaged ({error}). {lost_database.REMEDY}"
    if isinstance(error, DatabaseError) and not isinstance(error, IntegrityError):
        return f"The site's database failed: {error}. Check the disk and the folder's owner, then try again."
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return f"{error.filename or 'The system'}: {error.strerror or error}."
    return None


def _folder(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Path | None:
    if value is not None and not value.strip():
        raise click.BadParameter("enter a folder.")
    return None if value is None else Path(value)
