"""Documented commands that this release does not have; each says so and changes nothing."""

import click

from portal.cli.context import NotAvailable, data_option, json_option

ANYTHING = {"ignore_unknown_options": True}


def _later(words: str) -> click.Command:
    """A command that accepts any options, as a later release will have some."""

    @click.command(words.split()[-1], context_settings=ANYTHING, help="Not available yet.")
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED, metavar="")
    @data_option
    @json_option
    def command(**_given: object) -> None:
        raise NotAvailable(f"Not available yet: portal {words}.")

    return command


commands = tuple(_later(name) for name in ("backup", "restore", "conformance"))
