"""`portal audit`: the entries of the audit log, filtered, as text, CSV or JSON lines."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from portal import runtime, settings, site_settings
from portal.audit_log import entries, filters
from portal.audit_log.filters import AuditFilter
from portal.audit_log.kinds import KINDS
from portal.cli.context import data_option, json_option, require_site
from portal.cli.printing import printable
from portal.web import csv_export


@click.command("audit")
@click.option("--from", "begin", metavar="YYYY-MM-DD", default="", help="The first day, in the site's time zone.")
@click.option("--to", "end", metavar="YYYY-MM-DD", default="", help="The last day.")
@click.option("--actor", default="", metavar="WHO", help="An e-mail address, a device, a peer, a key ID or an address.")
@click.option("--target", default="", metavar="WHAT", help="A name, a key ID, or a number such as `session 12`.")
@click.option("--kind", default="", type=click.Choice(("", *KINDS)), show_choices=False, help=f"{', '.join(KINDS)}.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option("--jsonl", "form", flag_value="jsonl", help="Print one JSON object a line, with the digests.")
@data_option
@json_option
def audit(
    data: Path | None, as_json: bool, form: str | None, begin: str, end: str, actor: str, target: str, kind: str
) -> int:
    """Print the audit log, the latest entry first, without a limit."""
    chosen = settings.load(data)
    require_site(chosen)
    with runtime.connection():
        zone = ZoneInfo(site_settings.get("site.time_zone"))
        values = {"from": begin, "to": end, "who": actor, "about": target, "kind": kind}
        for part in _lines(filters.parse(values, zone=zone), "json" if as_json else form or "text"):
            sys.stdout.buffer.write(part)
    sys.stdout.flush()
    return 0


def _lines(chosen: AuditFilter, form: str) -> Iterator[bytes]:
    if form == "csv":
        yield from csv_export.lines(entries.cells(chosen))
    elif form == "jsonl":
        yield from entries.json_lines(chosen)
    elif form == "json":
        # One array, as every command prints it, yet never as a whole in memory.
        for place, view in enumerate(entries.iterate(chosen)):
            yield (("[\n" if place == 0 else ",\n") + json.dumps(entries.as_json(view))).encode()
        yield b"\n]\n" if filters.count(chosen) else b"[]\n"
    else:
        for view in entries.iterate(chosen):
            row = view.row
            where = f" from {row.address}" if row.address else ""
            yield (printable(f"{row.at:%Y-%m-%d %H:%M:%S}Z  {view.sentence}{where}") + "\n").encode(errors="replace")


commands = (audit,)
