"""`portal up`, `portal status` and `portal migrate`: the site as a whole."""

from pathlib import Path
from typing import Any

import click

from portal import migrations, runtime, settings, site_key
from portal.cli.context import data_option, json_option, on_site
from portal.cli.printing import Answer, print_answer
from portal.processes import health, startup
from portal.processes.supervisor import Plan, Supervisor
from portal.quantities import size
from portal.sample import setup

MAX_PROCESSES = 64


@click.command("up")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="H", help="The web server's address.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="The web server's port.")
@click.option(
    "--listeners", default=1, show_default=True, type=click.IntRange(1, MAX_PROCESSES), help="Processes for DIMSE."
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, MAX_PROCESSES),
    help="Jobs at a time in each of two lanes: N long ones (exports, imports, sends, verifications, dry runs) and N "
    "short ones (echoes, storage tests, comparisons, the trash). Each is a process.",
)
@click.option("--sample", is_flag=True, help="Fill the site with sample data, and try every way in and out.")
@click.option("--rebuild", is_flag=True, help="Make a lost or damaged database anew from the archive's records.")
@data_option
def up(data: Path | None, rebuild: bool, **options: object) -> int:
    """Start the site and watch its processes, until Ctrl-C. DIMSE address and port: portal dimse enable."""
    plan = Plan(**options)  # type: ignore[arg-type]  # click has converted them
    chosen = settings.load(data)
    startup.open_folder(chosen)
    with startup.lock(chosen, plan.url):
        startup.check_port(plan.host, plan.port)
        startup.open_site(chosen, anew=rebuild)
        startup.prepare(chosen, click.echo, anew=rebuild)
        Supervisor(chosen, plan, click.echo, sample_peer=setup.peer_address).run()
    return 0


@click.command("status")
@on_site
def status() -> Answer:
    """Ask every part of the site whether it works; exit code 1 if one does not."""
    report = health.report()
    return Answer(view=report, report=_in_lines(report), failure=" ".join(report["problems"]))


@click.command("migrate")
@data_option
@json_option
def migrate(data: Path | None, as_json: bool) -> int:
    """Bring the database to this release; makes a new site where there is none."""
    chosen = settings.load(data)
    startup.open_folder(chosen)
    startup.open_site(chosen)
    applied = migrations.apply(runtime.current().run / "migrate.lock")
    site_key.record_fingerprint(runtime.secrets())
    message = f"Applied: {', '.join(applied)}." if applied else "Nothing to do: the database is of this release."
    return print_answer(Answer(view={"applied": applied}, message=message), as_json=as_json)


def _in_lines(report: dict[str, Any]) -> str:
    web, queue, dimse, disk, archive = (report[part] for part in ("web", "queue", "dimse", "disk", "archive"))
    enabled = f"{dimse['ae_title']} on {dimse['host']}:{dimse['port']}" if dimse["enabled"] else "disabled"
    lines = {
        "web": (web["answers"], web["url"] or "not started"),
        "queue": (
            queue["answers"],
            f"workers {_lanes(queue['lanes'])}, waiting {queue['waiting']}, running {queue['running']}",
        ),
        "dimse": (dimse["answers"] or not dimse["enabled"], enabled),
        "disk": (not disk["problem"], f"{_of_disks(disk['disks'])}; {size(disk['archive'])} in the archive"),
    }
    segments, quarantined = report["segments"], report["segments"]["quarantined"]
    if segments["problem"] or quarantined:
        words = f"{len(segments['missing'])} gone or cut off, {len(segments['damaged'])} damaged"
        records = "1 record" if quarantined == 1 else f"{quarantined:,} records"
        words += f", {records} quarantined: portal archive quarantined" if quarantined else ""
        lines["segments"] = (not segments["problem"], words)
    if archive["bucket"]:
        lines["bucket"] = (not archive["problem"], _of_bucket(archive))
    told = [f"{name:<8} {'ok' if is_well else 'down':<5} {words}" for name, (is_well, words) in lines.items()]
    return "\n".join([f"Portico {report['release']} on {report['data']}", *told])


def _of_disks(disks: list[dict[str, Any]]) -> str:
    """12.3 GB free for archive, database; 900 MB for logs, run."""
    return "; ".join(f"{size(disk['free'])} free for {', '.join(disk['holds'])}" for disk in disks)


def _lanes(workers: dict[str, int]) -> str:
    """1 short, 1 long."""
    return ", ".join(f"{number} {lane}" for lane, number in workers.items())


def _of_bucket(archive: dict[str, Any]) -> str:
    there = f"{archive['there']:,} segments there ({size(archive['there_size'])})"
    waiting = f"{archive['waiting']:,} waiting ({size(archive['waiting_size'])})"
    cache = f"cache {size(archive['cache'])} of {size(archive['cache_limit'])}"
    return f"{archive['bucket']}: {there}, {waiting}, {cache}"


commands = (up, status, migrate)
