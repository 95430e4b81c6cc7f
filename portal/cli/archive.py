"""`portal reindex` and `portal unpack`: the archive without the rows, and without us."""

from pathlib import Path

import click

from portal import reindex, unpack
from portal.cli.door import on_site
from portal.cli.printing import Answer


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
    return Answer(view=view, sentence=sentence, failure=failure)


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
    return Answer(view=report.view(), sentence=sentence, failure=failure)


commands = (reindex_, unpack_)
