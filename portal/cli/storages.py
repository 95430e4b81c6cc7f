"""`portal storage`: places outside that data is copied to."""

from typing import Any

import click

from portal import jobs
from portal.cli.door import NotAvailable, on_site
from portal.cli.printing import Answer
from portal.cli.waiting import until_over
from portal.provenance import operator
from portal.storage import storages

TEST_PATIENCE = 300


@click.group("storage")
def storage() -> None:
    """External storage: where exports go."""


@storage.command("add")
@click.argument("label")
@click.option("--provider", type=click.Choice(("fs", "s3", "gcs", "azure")), required=True, help="fs; others later.")
@click.option("--path", metavar="P", help="fs: the folder, under one of the roots in PORTAL_STORAGE_ROOTS.")
@click.option("--prefix", metavar="P", default="", help="What every object key begins with.")
@click.option("--mode", default="export", metavar="MODE", help="import, export or both. Default: export.")
@click.option("--visible", default="site", metavar="WHO", help="site, group:ID or project:GROUP/PROJECT.")
@click.option("--bucket", metavar="B", help="Not available yet.")
@click.option("--endpoint", metavar="URL", help="Not available yet.")
@click.option("--region", metavar="R", help="Not available yet.")
@click.option("--access-key", metavar="K", help="Not available yet.")
@click.option("--secret-stdin", is_flag=True, help="Not available yet.")
@on_site
def add(label: str, provider: str, path: str | None, prefix: str, mode: str, visible: str, **others: Any) -> Answer:
    """Add a storage; `portal storage test` then tries it."""
    if provider != "fs":
        raise NotAvailable(f"Not available yet: --provider {provider}.")
    for name, value in others.items():
        if value:
            raise click.UsageError(f"--{name.replace('_', '-')} does not go with --provider fs")
    added = storages.add(label, provider, path=path or "", prefix=prefix, mode=mode, visible=visible, actor=operator())
    return Answer(view=storages.view(added), sentence=f"Storage {added.label} added. Next: portal storage test")


@storage.command("list")
@on_site
def list_() -> Answer:
    """List the storages."""
    return Answer(
        view=[storages.view(row) for row in storages.every()],
        columns=("label", "provider", "path", "prefix", "mode", "visible", "state", "sentence"),
        empty="No storage yet. Add one with: portal storage add",
    )


@storage.command("test")
@click.argument("label")
@on_site
def test(label: str) -> Answer:
    """Try a storage step by step under a random name: write, read back, overwrite, delete."""
    job = until_over(storages.request_test(label, actor=operator()), patience=TEST_PATIENCE)
    return Answer(view=jobs.view(job), sentence=job.sentence, failure="" if job.state == "done" else job.sentence)


@storage.command("remove")
@click.argument("label")
@on_site
def remove(label: str) -> Answer:
    """Forget a storage and its credentials; what lies there stays."""
    view = storages.view(storages.get(label))
    storages.remove(label, actor=operator())
    return Answer(view=view, sentence=f"Storage {label} removed; nothing was deleted there.")


commands = (storage,)
