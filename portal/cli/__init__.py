"""The `portal` command. Scripts rely on its names, options, JSON keys and exit codes: they are never changed."""

import os
import sys
from importlib import import_module

import click

from portal.cli.context import message_for
from portal.cli.printing import print_error

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


COMMAND_MODULES = {
    "up": "site",
    "status": "site",
    "user": "users",
    "group": "containers",
    "project": "containers",
    "device": "devices",
    "dimse": "dimse",
    "peer": "peers",
    "refused": "peers",
    "rule": "rules",
    "storage": "storages",
    "export": "exports",
    "schedule": "schedules",
    "import": "imports",
    "job": "jobs",
    "conflict": "conflicts",
    "trash": "trash",
    "send": "sends",
    "reindex": "archive",
    "unpack": "archive",
    "archive": "archive",
    "verify": "verification",
    "audit": "audit",
    "backup": "unavailable",
    "restore": "unavailable",
    "migrate": "site",
    "key": "site_key",
    "conformance": "unavailable",
}


class LazyCommands(click.Group):
    """The commands; each module is imported when its command is used, as scripts run many and wait for each."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(COMMAND_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        if cmd_name not in COMMAND_MODULES:
            return None
        module = import_module(f"portal.cli.{COMMAND_MODULES[cmd_name]}")
        command: click.Command = next(command for command in module.commands if command.name == cmd_name)
        return command


@click.command(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="portico", prog_name="portal")
def portal() -> None:
    """Portico: the interfaces portal of an imaging site.

    Exit codes: 0 success, 1 refused or failed (stderr has one line with the reason and what to do), 2 usage error.
    """


def main() -> None:
    """The entry point of the installed command."""
    os.umask(0o077)  # the files that it creates are for this account alone
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        return _invoke(arguments)
    except BrokenPipeError:
        # The reader of our output has gone; without this the interpreter would fail again when it flushes.
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115 (open until the process ends)
        return FAILED
    except Exception as error:
        message = message_for(error)
        if message is None:
            raise
        print_error(message)
        return FAILED


def _invoke(arguments: list[str]) -> int:
    try:
        for argument in arguments:
            argument.encode()
        return portal.main(arguments, prog_name="portal", standalone_mode=False) or DONE
    except UnicodeEncodeError:
        print_error("An argument is not UTF-8 text.")
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "portal"
        message = " ".join(error.format_message().split())
        print_error(f"{message.rstrip('.')}. See: {command} --help")
    except click.Abort:
        return INTERRUPTED
    return USAGE
