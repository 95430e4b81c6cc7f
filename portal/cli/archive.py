"""`portal reindex`, `portal unpack` and `portal archive`: work on the archive itself."""

from pathlib import Path

import click

from portal import runtime
from portal.access.actors import operator
from portal.cli.context import ROW_ID, on_site
from portal.cli.paging import all_rows
from portal.cli.printing import Answer
from portal.errors import BadSetting, Busy
from portal.maintenance import quarantine, reindex, segment_copies, unpack
from portal.processes import startup


@click.command("reindex")
@on_site
def reindex_() -> Answer:
    """Rebuild the index of studies, series and instances from the archive's records."""
    report = reindex.run()
    view = report.view()
    message = (
        f"{report.indexed} objects indexed; {report.recovered} records recovered that had no row; "
        f"{len(report.damaged)} damaged places; {len(report.not_restored)} files not restored."
    )
    if report.purged:
        files = "1 file was" if len(report.purged) == 1 else f"{len(report.purged):,} files were"
        message += f" {files} purged before this database was restored, and removed from the lists; see --json."
    failure = "" if not report.damaged else f"{len(report.damaged)} places in the archive are damaged; see --json."
    if report.missing:
        more = "" if len(report.missing) == 1 else f" {len(report.missing):,} segments are affected; see --json."
        failure = f"{report.missing[0]['message']}{more}"
    return Answer(view=view, message=message, failure=failure)


@click.command("unpack")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@on_site
def unpack_(folder: Path) -> Answer:
    """Write every file of the archive as a plain file under DIR."""
    report = unpack.run(folder)
    message = f"{report.written} files written, {report.present} already there, {len(report.failed)} failed."
    failure = "" if not report.failed else f"{len(report.failed)} files were not written: {report.failed[0]['message']}"
    return Answer(view=report.view(), report=message, failure=failure)


@click.group("archive")
def archive() -> None:
    """The archive: records that cannot be indexed, and segments in a bucket."""


@archive.command("fetch")
@on_site
def fetch_() -> Answer:
    """Copy every segment that is only in the bucket to the data folder, so that PORTAL_ARCHIVE can be unset."""
    bucket = runtime.bucket()
    if bucket is None:
        raise BadSetting("PORTAL_ARCHIVE is not set, so the bucket is unknown. Set it, then fetch.")
    if startup.holder(runtime.current()):
        raise Busy("Portico is running and would remove the copies again. Stop it first.")
    with startup.lock(runtime.current(), "portal archive fetch"):  # two at once would write the same files
        number = segment_copies.fetch_all(bucket)
    return Answer(
        view={"fetched": number}, message=f"{number:,} segments fetched; the data folder has the whole archive."
    )


@archive.command("quarantined")
@on_site
def quarantined_() -> Answer:
    """List the received records that cannot be indexed, newest first."""
    return Answer(
        view=[quarantine.view(row) for row in all_rows(quarantine.list_all)],
        columns=("id", "project", "name", "bytes", "received", "reason"),
        empty="Every record of the archive can be indexed.",
    )


@archive.command("save")
@click.argument("record_id", metavar="ID", type=ROW_ID)
@click.argument("target", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@on_site
def save_(record_id: int, target: Path) -> Answer:
    """Write the bytes of a quarantined record to a new file."""
    row = quarantine.get(record_id)
    with target.open("xb") as file:
        for chunk in quarantine.download(row, actor=operator()):
            file.write(chunk)
    view = {"id": row.id, "file": str(target), "bytes": row.size}
    return Answer(view=view, message=f"{row.size:,} bytes written to {target}.")


commands = (reindex_, unpack_, archive)
