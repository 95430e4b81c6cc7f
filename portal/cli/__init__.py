"""The `portal` command (design.md §8: names, options, keys and exit codes are fixed)."""

import sys

import click

from portal.cli import (
    archive,
    conflicts,
    containers,
    devices,
    dimse,
    exports,
    later,
    peers,
    site,
    storages,
    users,
)
from portal.cli.door import sentence_of
from portal.cli.printing import complaint

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="portico", prog_name="portal")
def portal() -> None:
    """Portico: the interfaces portal of an imaging site.

    Exit codes: 0 done, 1 refused or failed (one line on stderr says why and what to do), 2 usage.
    """


for module in (site, users, containers, devices, dimse, peers, storages, exports, conflicts, archive, later):
    for command in module.commands:
        portal.add_command(command)


def main() -> None:
    """The entry point of the installed command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        return _invoke(arguments)
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter would complain again while it flushes.
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115 (open until the process ends)
        return FAILED
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        complaint(sentence)
        return FAILED


def _invoke(arguments: list[str]) -> int:
    try:
        for argument in arguments:
            argument.encode()
        return portal.main(arguments, prog_name="portal", standalone_mode=False) or DONE
    except UnicodeEncodeError:
        complaint("An argument is no UTF-8 text.")
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
    except click.UsageError as error:
        complaint(_usage(error))
    except click.Abort:
        return INTERRUPTED
    return USAGE


def _usage(error: click.UsageError) -> str:
    where = error.ctx.command_path if error.ctx else "portal"
    sentence = " ".join(error.format_message().split())
    return f"{sentence.rstrip('.')}. See: {where} --help"
