"""`portal reindex`, `portal unpack`, `portal archive`: the archive without the rows, us, or its bucket."""

from pathlib import Path

import click

from portal import copies, reindex, runtime, startup, unpack
from portal.cli.door import on_site
from portal.cli.printing import Answer
from portal.errors import BadSetting, Busy


@click.command("reindex")
@on_site
def reindex_() -> Answer:
    """Make Study, Series and Instance anew from the archive's records."""
    report = reindex.run()
    view = report.view()
    sentence = (
        f"{report.indexed} objects indexed; {report.recovered} records had no row; "
        f"{len(report.damaged)} places damaged; {len(report.not_restored)} files not restored."
    )
    failure = "" if not report.damaged else f"{len(report.damaged)} places of the archive are damaged; see --json."
    return Answer(view=view, report=sentence, failure=failure)


@click.command("unpack")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@on_site
def unpack_(folder: Path) -> Answer:
    """Write every file that the archive holds as a plain file under DIR."""
    report = unpack.run(folder)
    sentence = f"{report.written} files written, {report.present} were there already, {len(report.failed)} failed."
    failure = (
        "" if not report.failed else f"{len(report.failed)} files were not written: {report.failed[0]['sentence']}"
    )
    return Answer(view=report.view(), report=sentence, failure=failure)


@click.group("archive")
def archive() -> None:
    """The part of the archive that lies in a bucket."""


@archive.command("fetch")
@on_site
def fetch_() -> Answer:
    """Copy every segment that lies in the bucket alone to the data folder, so that PORTAL_ARCHIVE can be unset."""
    bucket = runtime.bucket()
    if bucket is None:
        raise BadSetting("PORTAL_ARCHIVE is not set, so nobody knows which bucket. Set it, then fetch.")
    if startup.holder(runtime.current()):
        raise Busy("Portico runs, and would drop the copies again. Stop it first.")
    with startup.lock(runtime.current(), "portal archive fetch"):  # two at once would write the same files
        number = copies.fetch(bucket)
    return Answer(view={"fetched": number}, sentence=f"{number:,} segments fetched; the whole archive is here.")


commands = (reindex_, unpack_, archive)
