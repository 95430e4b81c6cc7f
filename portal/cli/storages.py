"""`portal storage`: external storages of exports and imports."""

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
from portal.storage import providers, step_results, storages
from portal.storage.fields import COMMON_FIELDS

TEST_TIMEOUT = 300
STEP_STATES = {"off": "-", "run": "running", "ok": "ok", "warn": "warning", "bad": "FAILED", "skip": "skipped"}
MAX_SECRET_BYTES = 65_536


@click.group("storage")
def storage() -> None:
    """External storage for exports and imports."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `add` and `edit` share."""
    for option in reversed(
        (
            click.option("--path", metavar="P", help="fs: the folder, under one of the roots in PORTAL_STORAGE_ROOTS."),
            click.option("--bucket", metavar="B", help="s3, gcs: an existing bucket."),
            click.option("--account", metavar="A", help="azure: the storage account."),
            click.option("--container", metavar="C", help="azure: an existing container."),
            click.option("--endpoint", metavar="URL", help="Such as https://s3.site.example:9000. Default: the cloud."),
            click.option("--region", metavar="R", help="s3: such as eu-central-1. Default: us-east-1."),
            click.option(
                "--path-style/--host-style",
                default=None,
                help="s3: the bucket is in the path or host name. Default: path, except for Amazon.",
            ),
            click.option("--ca", metavar="FILE", help="A PEM file with the CA of the endpoint."),
            click.option(
                "--access-key", metavar="K", help="s3: default: the worker's environment. gcs: of an HMAC key."
            ),
            click.option("--tenant", metavar="T", help="azure: the tenant of the client, its ID or domain."),
            click.option("--client", metavar="ID", help="azure: the application (client) ID. Default: an account key."),
            click.option("--authority", metavar="URL", help="azure: the client's sign-in URL. Default: Microsoft."),
            click.option("--secret-stdin", is_flag=True, help="Read the secret from stdin; gcs: the JSON key."),
            click.option("--secret-file", metavar="FILE", help="Read the secret from a file."),
            click.option("--prefix", metavar="P", help="The prefix of every object key."),
            click.option("--mode", metavar="MODE", help="import, export or both. Default: both."),
            click.option("--threads", metavar="N", help="Parallel transfers. Default: the site setting."),
            click.option(
                "--visible", metavar="WHO", help="Access: site, group:ID or project:GROUP/PROJECT. Default: site."
            ),
        )
    ):
        function = option(function)
    return function


@storage.command("add")
@click.argument("label")
@click.option("--provider", type=click.Choice(tuple(providers.PROVIDERS)), required=True, help="The kind of storage.")
@_options
@on_site
def add(label: str, provider: str, **options: Any) -> Answer:
    """Add a storage. Test it afterwards with: portal storage test"""
    fields, secret = _given(provider, {}, options)
    added = storages.add(label, provider, secret=secret, actor=operator(), **fields)
    return Answer(view=storages.view(added), message=f"Storage {added.label} added. Next: portal storage test")


@storage.command("edit")
@click.argument("label")
@_options
@on_site
def edit(label: str, **options: Any) -> Answer:
    """Change the given options. A new secret replaces the old one."""
    row = storages.get(label)
    fields, secret = _given(row.provider, row.config, options)
    if not fields and not secret:
        raise click.UsageError("Give at least one option to change")
    changed = storages.edit(label, secret=secret, actor=operator(), **fields)
    return Answer(view=storages.view(changed), message=f"Storage {changed.label} changed. Next: portal storage test")


@storage.command("list")
@on_site
def list_() -> Answer:
    """List the storages."""
    return Answer(
        view=[storages.view(row) for row in storages.list_all()],
        columns=("label", "provider", "place", "prefix", "mode", "visible", "state", "message"),
        empty="No storages yet. Add one with: portal storage add",
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
    """Test a storage step by step with a random object: write, read back, overwrite, delete."""
    job = wait_for_job(storages.request_test(label, actor=operator()), patience=TEST_TIMEOUT)
    failure = "" if job.state == "done" else job.message
    lines = []
    for step in step_results.load_steps(job.result):
        message = "" if step.message == failure else step.message  # the failure is printed at the end
        lines.append(f"{STEP_STATES[step.state]:<10}{step.name:<21}{message}".rstrip())
    return Answer(view=jobs.view(job), message=job.message, report="\n".join(lines), failure=failure)


@storage.command("remove")
@click.argument("label")
@on_site
def remove(label: str) -> Answer:
    """Remove a storage and its credentials. Its objects remain."""
    view = storages.view(storages.get(label))
    storages.remove(label, actor=operator())
    return Answer(view=view, message=f"Storage {label} removed. Its objects remain.")


def _given(provider: str, before: dict[str, Any], options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The given fields and the secret. Raises click.UsageError for an option that the provider does not have."""
    from_stdin, file = options.pop("secret_stdin"), options.pop("secret_file")
    kind = providers.get(provider)
    fields = {name: value for name, value in options.items() if value is not None}
    for name in fields:
        if name not in kind.fields and name not in COMMON_FIELDS:
            raise click.UsageError(f"--{name.replace('_', '-')} does not go with --provider {provider}")
    if from_stdin and file:
        raise click.UsageError("Use --secret-stdin or --secret-file, not both")
    if (from_stdin or file) and not kind.secrets:
        raise click.UsageError(f"--secret-{'stdin' if from_stdin else 'file'} does not go with --provider {provider}")
    if "ca" in fields:
        fields["ca"] = _text(Path(fields["ca"]), "CA certificate") if fields["ca"] else ""
    if not from_stdin and not file:
        return fields, {}
    return fields, {kind.required_secret({**before, **fields}): _text(Path(file) if file else None, "secret")}


def _text(file: Path | None, what: str) -> str:
    """The content of a file, or of standard input, without the line end. Raises BadValue if there is none."""
    source = str(file or "Standard input")
    if file:
        with file.open("rb") as stream:
            content = stream.read(MAX_SECRET_BYTES + 1)
    else:
        content = sys.stdin.buffer.read(MAX_SECRET_BYTES + 1)
    try:
        text = content.decode().strip("\r\n")
    except UnicodeDecodeError as error:
        raise BadValue(f"{source} has no {what}: it is not UTF-8 text.") from error
    if not text or len(content) > MAX_SECRET_BYTES:
        raise BadValue(f"{source} has no {what} of 1 to {MAX_SECRET_BYTES:,} bytes.")
    return text


commands = (storage,)
