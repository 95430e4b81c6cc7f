"""`portal storage`: places outside that data is copied to."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from portal.access.actors import operator
from portal.cli.context import on_site
from portal.cli.printing import Answer
from portal.cli.waiting import wait_for_job
from portal.errors import BadValue
from portal.jobs import jobs
from portal.storage import providers, storages
from portal.storage.fields import COMMON_FIELDS

TEST_TIMEOUT = 300
STEP_STATES = {"off": "-", "run": "running", "ok": "ok", "warn": "remark", "bad": "FAILED", "skip": "not used"}
MAX_SECRET_BYTES = 65_536
"""Bytes of a secret or a certificate from outside."""


@click.group("storage")
def storage() -> None:
    """External storage: where exports go, and imports come from."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `add` and `edit` have in common."""
    for option in reversed(
        (
            click.option("--path", metavar="P", help="fs: the folder, under one of the roots in PORTAL_STORAGE_ROOTS."),
            click.option("--bucket", metavar="B", help="s3, gcs: the bucket, which exists."),
            click.option("--account", metavar="A", help="azure: the storage account."),
            click.option("--container", metavar="C", help="azure: the container, which exists."),
            click.option(
                "--endpoint",
                metavar="URL",
                help="Such as https://s3.site.example:9000. Default: Amazon, Google or Microsoft.",
            ),
            click.option("--region", metavar="R", help="s3: such as eu-central-1. Default: us-east-1."),
            click.option(
                "--path-style/--host-style",
                default=None,
                help="s3: the bucket stands in the path, or in the host's name. Default: path, but for Amazon.",
            ),
            click.option("--ca", metavar="FILE", help="The PEM file of the CA that the endpoint is trusted by."),
            click.option(
                "--access-key",
                metavar="K",
                help="s3: without one, the worker's environment has to have it. gcs: of an HMAC key.",
            ),
            click.option("--tenant", metavar="T", help="azure: of the client, its id or domain."),
            click.option("--client", metavar="ID", help="azure: the application that signs in; without one, a key."),
            click.option("--authority", metavar="URL", help="azure: who signs the client in. Default: Microsoft."),
            click.option(
                "--secret-stdin", is_flag=True, help="Read the secret from standard input; gcs: the JSON key."
            ),
            click.option("--secret-file", metavar="FILE", help="Read the secret from a file."),
            click.option("--prefix", metavar="P", help="What every object key begins with."),
            click.option("--mode", metavar="MODE", help="import, export or both. Default: both."),
            click.option("--threads", metavar="N", help="Objects that it gets at once. Default: the site's setting."),
            click.option("--visible", metavar="WHO", help="site, group:ID or project:GROUP/PROJECT. Default: site."),
        )
    ):
        function = option(function)
    return function


@storage.command("add")
@click.argument("label")
@click.option("--provider", type=click.Choice(tuple(providers.PROVIDERS)), required=True, help="What kind it is.")
@_options
@on_site
def add(label: str, provider: str, **options: Any) -> Answer:
    """Add a storage; `portal storage test` then tries it."""
    fields, secret = _given(provider, {}, options)
    added = storages.add(label, provider, secret=secret, actor=operator(), **fields)
    return Answer(view=storages.view(added), message=f"Storage {added.label} added. Next: portal storage test")


@storage.command("edit")
@click.argument("label")
@_options
@on_site
def edit(label: str, **options: Any) -> Answer:
    """Change what is given, and leave the rest; a new secret takes the place of the one before."""
    row = storages.get(label)
    fields, secret = _given(row.provider, row.config, options)
    if not fields and not secret:
        raise click.UsageError("Nothing to change was given")
    changed = storages.edit(label, secret=secret, actor=operator(), **fields)
    return Answer(view=storages.view(changed), message=f"Storage {changed.label} changed. Next: portal storage test")


@storage.command("list")
@on_site
def list_() -> Answer:
    """List the storages."""
    return Answer(
        view=[storages.view(row) for row in storages.list_all()],
        columns=("label", "provider", "place", "prefix", "mode", "visible", "state", "message"),
        empty="No storage yet. Add one with: portal storage add",
    )


@storage.command("show")
@click.argument("label")
@on_site
def show(label: str) -> Answer:
    """Show one storage, without its secret."""
    return Answer(view=storages.view(storages.get(label)))


@storage.command("test")
@click.argument("label")
@on_site
def test(label: str) -> Answer:
    """Try a storage step by step under a random name: write, read back, overwrite, delete."""
    job = wait_for_job(storages.request_test(label, actor=operator()), patience=TEST_TIMEOUT)
    failure = "" if job.state == "done" else job.message
    steps = "\n".join(_line(step, failure) for step in job.result.get("steps", ()))
    return Answer(view=jobs.view(job), message=job.message, report=steps, failure=failure)


@storage.command("remove")
@click.argument("label")
@on_site
def remove(label: str) -> Answer:
    """Forget a storage and its credentials; what lies there stays."""
    view = storages.view(storages.get(label))
    storages.remove(label, actor=operator())
    return Answer(view=view, message=f"Storage {label} removed; nothing was deleted there.")


def _line(step: dict[str, Any], failure: str) -> str:
    """A step of a test on a line; the sentence of the step that failed is said at the end."""
    message = "" if step["message"] == failure else step["message"]
    return f"{STEP_STATES[step['state']]:<10}{step['name']:<21}{message}".rstrip()


def _given(provider: str, before: dict[str, Any], options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The fields that were given, and the secret. Raises click.UsageError for one that its provider does not have."""
    from_stdin, file = options.pop("secret_stdin"), options.pop("secret_file")
    kind = providers.get(provider)
    fields = {name: value for name, value in options.items() if value is not None}
    for name in fields:
        if name not in kind.fields and name not in COMMON_FIELDS:
            raise click.UsageError(f"--{name.replace('_', '-')} does not go with --provider {provider}")
    if from_stdin and file:
        raise click.UsageError("--secret-stdin and --secret-file: give one of them, not both")
    if (from_stdin or file) and not kind.secrets:
        raise click.UsageError(f"--secret-{'stdin' if from_stdin else 'file'} does not go with --provider {provider}")
    if "ca" in fields:
        fields["ca"] = _text(Path(fields["ca"]), "CA certificate") if fields["ca"] else ""
    if not from_stdin and not file:
        return fields, {}
    return fields, {kind.asks_for({**before, **fields}): _text(Path(file) if file else None, "secret")}


def _text(file: Path | None, what: str) -> str:
    """The whole of a file, or of standard input, without the line's end. Raises BadValue where there is nothing."""
    where = str(file or "Standard input")
    if file:
        with file.open("rb") as source:
            content = source.read(MAX_SECRET_BYTES + 1)
    else:
        content = sys.stdin.buffer.read(MAX_SECRET_BYTES + 1)
    try:
        text = content.decode().strip("\r\n")
    except UnicodeDecodeError as error:
        raise BadValue(f"{where} has no {what}: it is no UTF-8 text.") from error
    if not text or len(content) > MAX_SECRET_BYTES:
        raise BadValue(f"{where} has no {what} of 1 to {MAX_SECRET_BYTES:,} bytes.")
    return text


commands = (storage,)
