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
    return reindex.run()


@click.command("unpack")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@on_site
def unpack_(folder: Path) -> Answer:
    """Write every file that the archive holds as a plain file under DIR."""
    return unpack.run(folder)


commands = (reindex_, unpack_)
