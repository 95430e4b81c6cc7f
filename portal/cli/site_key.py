"""`portal key`: the file that seals a site's secrets."""

from dataclasses import asdict
from pathlib import Path

import click

from portal import migrations, models, settings
from portal.access.actors import operator
from portal.cli.context import data_option, json_option, require_database
from portal.cli.printing import Answer, print_answer
from portal.errors import Busy
from portal.processes import key_replacement, startup


@click.group("key")
def key() -> None:
    """The key file of the site (keys/site.key), which its device keys and stored credentials depend on."""


@key.command("replace")
@click.option("--i-know", is_flag=True, help="Do it; without this, only say what will be lost.")
@data_option
@json_option
def replace(data: Path | None, as_json: bool, i_know: bool) -> int:
    """Begin with a new key where the old one is gone for good."""
    chosen = settings.load(data)
    require_database(chosen)
    if startup.holder(chosen):
        raise Busy(f"Portico runs on {chosen.data}. Stop it first.")
    models.bind(chosen.database)
    key_replacement.require_lost_key(chosen)
    if not i_know:
        return print_answer(_told(key_replacement.losses(), replaced=False), as_json=as_json)
    chosen.run.mkdir(exist_ok=True, mode=0o700)
    with startup.lock(chosen, "portal key replace"):
        migrations.apply(chosen.run / "migrate.lock")
        lost = key_replacement.replace(chosen, actor=operator())
    return print_answer(_told(lost, replaced=True), as_json=as_json)


def _told(lost: key_replacement.Losses, *, replaced: bool) -> Answer:
    head = "The site has a new key. Keep a copy of keys/site.key elsewhere." if replaced else "With a new key:"
    failure = "" if replaced else "Nothing was changed. To do it: portal key replace --i-know"
    return Answer(view={"replaced": replaced, **asdict(lost)}, report="\n".join([head, *lost.lines]), failure=failure)


commands = (key,)
