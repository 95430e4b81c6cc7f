"""`portal key`: the key file that encrypts a site's secrets."""

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
    """The site's key file (keys/site.key), which device keys and stored credentials depend on."""


@key.command("replace")
@click.option("--i-know", is_flag=True, help="Replace the key. Without this, only list what will be lost.")
@data_option
@json_option
def replace(data: Path | None, as_json: bool, i_know: bool) -> int:
    """Create a new key file when the old one is lost."""
    chosen = settings.load(data)
    require_database(chosen)
    if startup.holder(chosen):
        raise Busy(f"Portico is running on {chosen.data}. Stop it first.")
    models.bind(chosen.database)
    key_replacement.require_lost_key(chosen)
    if not i_know:
        return print_answer(_answer(key_replacement.losses(), replaced=False), as_json=as_json)
    chosen.run.mkdir(exist_ok=True, mode=0o700)
    with startup.lock(chosen, "portal key replace"):
        migrations.apply(chosen.run / "migrate.lock")
        lost = key_replacement.replace(chosen, actor=operator())
    return print_answer(_answer(lost, replaced=True), as_json=as_json)


def _answer(lost: key_replacement.Losses, *, replaced: bool) -> Answer:
    head = "The site has a new key. Keep a copy of keys/site.key elsewhere." if replaced else "With a new key:"
    failure = "" if replaced else "Nothing was changed. To replace the key: portal key replace --i-know"
    return Answer(view={"replaced": replaced, **asdict(lost)}, report="\n".join([head, *lost.lines]), failure=failure)


commands = (key,)
