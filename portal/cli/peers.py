"""`portal peer` and `portal refused`: who may call us over DIMSE, and who was turned away."""

from collections.abc import Callable
from typing import Any

import click

from portal.access.actors import operator
from portal.cli.context import NotAvailable, on_site
from portal.cli.printing import Answer
from portal.cli.waiting import wait_for_job
from portal.jobs import jobs
from portal.peers import peers, refused_callers

ECHO_TIMEOUT = 60


@click.group("peer")
def peer() -> None:
    """DICOM systems that may call us, and that we call."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `add` and `edit` have in common."""
    for option in reversed(
        (
            click.option("--host", metavar="H", help="Where we call it."),
            click.option("--port", metavar="P", help="The port that we call."),
            click.option(
                "--address", "addresses", multiple=True, metavar="CIDR", help="Where it may call from; repeat."
            ),
            click.option("--allow", metavar="LIST", help="Some of echo,store,find,move,get,commit. Default: echo."),
            click.option(
                "--project", "projects", multiple=True, metavar="GROUP/PROJECT[:ro|rw]", help="May see; repeat."
            ),
            click.option("--all-projects", is_flag=True, help="May see every project."),
            click.option("--store-to", metavar="GROUP/PROJECT", help="Where its studies go."),
            click.option(
                "--move-to", "moves_to", multiple=True, metavar="LABEL", help="A move destination, or any; repeat."
            ),
            click.option("--our-ae-title", metavar="AET", help="What we call ourselves towards it."),
            click.option("--tls", is_flag=True, help="Not available yet."),
        )
    ):
        function = option(function)
    return function


@peer.command("add")
@click.argument("label")
@click.option("--ae-title", metavar="AET", required=True, help="Its AE title.")
@_options
@on_site
def add(label: str, **options: Any) -> Answer:
    """Register a peer; without more, it may echo and sees no project."""
    added = peers.register(label, **_given(options), actor=operator())
    return Answer(view=peers.view(added), message=f"Peer {added.label} registered.")


@peer.command("edit")
@click.argument("label")
@click.option("--ae-title", metavar="AET", help="Its AE title.")
@_options
@on_site
def edit(label: str, **options: Any) -> Answer:
    """Change what is given, and leave the rest; the next association sees it."""
    changes = _given(options)
    if not changes:
        raise click.UsageError("Nothing to change was given")
    return Answer(view=peers.view(peers.edit(label, **changes, actor=operator())), message=f"Peer {label} changed.")


@peer.command("list")
@on_site
def list_() -> Answer:
    """List the peers."""
    return Answer(
        view=[peers.view(row) for row in peers.list_all()],
        columns=("label", "ae_title", "host", "port", "services", "enabled", "state", "last_seen"),
        empty="No peer yet. Register one with: portal peer add",
    )


@peer.command("show")
@click.argument("label")
@on_site
def show(label: str) -> Answer:
    """Show one peer."""
    return Answer(view=peers.view(peers.get(label)))


@peer.command("enable")
@click.argument("label")
@on_site
def enable(label: str) -> Answer:
    """Accept a peer's associations again."""
    peers.enable(label, actor=operator())
    return Answer(view=peers.view(peers.get(label)), message=f"Peer {label} enabled.")


@peer.command("disable")
@click.argument("label")
@on_site
def disable(label: str) -> Answer:
    """Reject a peer's next associations."""
    peers.disable(label, actor=operator())
    return Answer(
        view=peers.view(peers.get(label)), message=f"Peer {label} disabled; its next association is rejected."
    )


@peer.command("remove")
@click.argument("label")
@on_site
def remove(label: str) -> Answer:
    """Remove a peer and its grants; what it sent stays."""
    view = peers.view(peers.get(label))
    peers.remove(label, actor=operator())
    return Answer(view=view, message=f"Peer {label} removed.")


@peer.command("echo")
@click.argument("label")
@on_site
def echo(label: str) -> Answer:
    """Call a peer with C-ECHO and wait for the outcome."""
    job = wait_for_job(peers.request_echo(label, actor=operator()), patience=ECHO_TIMEOUT)
    return Answer(view=jobs.view(job), message=job.message, failure="" if job.state == "done" else job.message)


@click.group("refused")
def refused() -> None:
    """Callers that were turned away."""


@refused.command("list")
@on_site
def list_refused() -> Answer:
    """List the refused callers, the latest first."""
    return Answer(
        view=[refused_callers.view(row) for row in refused_callers.list_all()],
        columns=("id", "calling", "called", "address", "count", "last", "decision", "message"),
        empty="Nobody was refused.",
    )


@refused.command("ignore")
@click.argument("caller_id", metavar="ID", type=click.IntRange(1, 2**63 - 1))
@on_site
def ignore(caller_id: int) -> Answer:
    """Leave a refused caller out of the alerts."""
    ignored = refused_callers.ignore(caller_id, actor=operator())
    return Answer(
        view=refused_callers.view(ignored), message=f"Caller {ignored.calling} from {ignored.address} ignored."
    )


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, in the domain's form."""
    if options.pop("tls"):
        raise NotAvailable("Not available yet: --tls.")
    allow = options.pop("allow")
    given = {name: value for name, value in options.items() if value not in (None, (), False)}
    if allow is not None:
        given["services"] = tuple(part.strip() for part in allow.split(",") if part.strip())
    if "projects" in given:
        given["projects"] = tuple(_grant(text) for text in given["projects"])
    return given


def _grant(text: str) -> tuple[str, str]:
    """`GROUP/PROJECT:rw` as project and role; without a role, read-only. A project may have colons in its name."""
    project, _colon, role = text.rpartition(":")
    return (project, role) if role in ("ro", "rw") else (text, "ro")


commands = (peer, refused)
