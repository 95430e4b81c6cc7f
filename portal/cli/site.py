"""`portal up`, `portal status` and `portal migrate`: the site as a whole."""

import os
from pathlib import Path
from typing import Any

import click

from portal import migrations, runtime, settings, site_key
from portal.access import audit, audit_anchors
from portal.cli.context import data_option, json_option, on_site
from portal.cli.printing import Answer, print_answer
from portal.processes import health, startup
from portal.processes.supervisor import Plan, Supervisor
from portal.quantities import size
from portal.sample import setup

MAX_PROCESSES = 64
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""Those that this process may use, where the system says so."""


@click.command("up")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="H", help="The web server's address.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="The web server's port.")
@click.option(
    "--listeners",
    default=min(CORES, MAX_PROCESSES),
    show_default="the number of cores",
    type=click.IntRange(1, MAX_PROCESSES),
    help="The number of DIMSE listener processes.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, MAX_PROCESSES),
    help="The number of worker processes in each of two lanes: long jobs (exports, imports, sends, verifications, "
    "dry runs) and short jobs (echoes, storage tests, comparisons, the trash).",
)
@click.option("--sample", is_flag=True, help="Fill the site with sample data through every interface.")
@click.option("--rebuild", is_flag=True, help="Rebuild a lost or damaged database from the archive's records.")
@data_option
def up(data: Path | None, rebuild: bool, **options: object) -> int:
    """Start the site and supervise its processes until Ctrl-C. For DIMSE, see: portal dimse enable."""
    plan = Plan(**options)  # type: ignore[arg-type]  # click has converted them
    chosen = settings.load(data)
    startup.open_folder(chosen)
    with startup.lock(chosen, plan.url):
        startup.check_port(plan.host, plan.port)
        startup.open_site(chosen, rebuild=rebuild)
        startup.prepare(chosen, click.echo, rebuild=rebuild)
        Supervisor(chosen, plan, click.echo, sample_peer=setup.peer_address).run()
        audit_anchors.try_to_add("stop")
    return 0


@click.command("status")
@on_site
def status() -> Answer:
    """Check every part of the site; exit code 1 if one is down."""
    report = health.report()
    return Answer(view=report, report=_report_lines(report), failure=" ".join(report["problems"]))


@click.command("migrate")
@data_option
@json_option
def migrate(data: Path | None, as_json: bool) -> int:
    """Upgrade the database to this release, or create a new site."""
    chosen = settings.load(data)
    startup.open_folder(chosen)
    startup.open_site(chosen)
    applied = migrations.apply(runtime.current().run / "migrate.lock")
    site_key.record_fingerprint(runtime.secrets())
    with runtime.connection():
        audit.begin_key(runtime.secrets())
    message = f"Applied: {', '.join(applied)}." if applied else "Nothing to do: the database is up to date."
    return print_answer(Answer(view={"applied": applied}, message=message), as_json=as_json)


def _report_lines(report: dict[str, Any]) -> str:
    web, queue, dimse, disk, archive = (report[part] for part in ("web", "queue", "dimse", "disk", "archive"))
    workers = ", ".join(f"{number} {lane}" for lane, number in queue["lanes"].items())
    jobs = f"workers {workers}, waiting {queue['waiting']}, running {queue['running']}"
    listener = f"{dimse['ae_title']} on {dimse['host']}:{dimse['port']}" if dimse["enabled"] else "disabled"
    free = "; ".join(f"{size(part['free'])} free for {', '.join(part['holds'])}" for part in disk["disks"])
    lines = {
        "web": (web["answers"], web["url"] or "not started"),
        "queue": (queue["answers"], jobs),
        "dimse": (dimse["answers"] or not dimse["enabled"], listener),
        "disk": (not disk["problem"], f"{free}; {size(disk['archive'])} in the archive"),
    }
    segments, quarantined = report["segments"], report["segments"]["quarantined"]
    if segments["problem"] or quarantined:
        details = f"{len(segments['missing'])} missing or truncated, {len(segments['damaged'])} damaged"
        records = "1 record" if quarantined == 1 else f"{quarantined:,} records"
        details += f", {records} quarantined: portal archive quarantined" if quarantined else ""
        lines["segments"] = (not segments["problem"], details)
    if archive["bucket"]:
        stored = f"{archive['there']:,} segments stored ({size(archive['there_size'])})"
        waiting = f"{archive['waiting']:,} waiting ({size(archive['waiting_size'])})"
        cache = f"cache {size(archive['cache'])} of {size(archive['cache_limit'])}"
        lines["bucket"] = (not archive["problem"], f"{archive['bucket']}: {stored}, {waiting}, {cache}")
    verified = report["verification"]
    last = verified["last"]
    ended = f"{last['ended']:%Y-%m-%d %H:%M} UTC, {last['findings']:,} problems" if last else "never"
    due = f"{verified['next']:%Y-%m-%d %H:%M} UTC" if verified["next"] else "not scheduled"
    lines["verified"] = (not verified["problem"], f"{ended}; next {due}")
    head = f"Portico {report['release']} on {report['data']}"
    parts = (f"{name:<8} {'ok' if is_ok else 'down':<5} {details}" for name, (is_ok, details) in lines.items())
    return "\n".join([head, *parts])


commands = (up, status, migrate)
