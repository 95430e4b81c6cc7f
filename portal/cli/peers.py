"""`portal peer` and `portal refused`: registered DICOM peers, and refused callers."""

from collections.abc import Callable
from typing import Any

import click

from portal.access.actors import operator
from portal.cli.context import ROW_ID, on_site, read_text
from portal.cli.printing import Answer
from portal.cli.users import first_line
from portal.cli.waiting import wait_for_job
from portal.jobs import jobs
from portal.peers import peers, refused_callers

ECHO_TIMEOUT = 60
TLS_OPTIONS = (
    click.option("--tls/--no-tls", default=None, help="It calls and is called with TLS only."),
    click.option("--ca", "issuers", metavar="FILE", help="PEM: who issues its certificate, or none."),
    click.option("--certificate", "pinned", metavar="FILE", help="PEM: exactly its certificate, or none."),
    click.option(
        "--certificate-name", "tls_name", metavar="NAME", help="The name in its certificate. Default: its host."
    ),
    click.option("--any-name/--check-name", "tls_any_name", default=None, help="Accept any name there."),
)


@click.group("peer")
def peer() -> None:
    """DICOM systems that call this site or are called by it."""


SETTINGS_OPTIONS = (
    click.option(
        "--confirm-sends/--no-confirm-sends",
        "confirm_sends",
        default=None,
        help="Whether it is asked for storage commitment after each send to it. Default: no.",
    ),
    click.option(
        "--lenient-queries/--strict-queries",
        "lenient_queries",
        default=None,
        help="Whether its queries are relational without negotiation. Default: strict.",
    ),
    click.option(
        "--assume-character-set",
        "assumed_character_set",
        metavar="TERM",
        help="The character set of queries that declare none, such as 'ISO_IR 100'.",
    ),
    click.option("--answer-character-set", metavar="TERM", help="The character set of answers."),
    click.option("--max-associations", metavar="N", help="Associations that it may have open at once."),
    click.option(
        "--identity",
        metavar="RULE",
        help="Its user identity: ignored, refused or required. Default: the site's.",
    ),
    click.option("--identity-user", metavar="NAME", help="The user name that it sends."),
    click.option(
        "--identity-password-stdin",
        is_flag=True,
        help="Read the password that it sends from the first line of standard input.",
    ),
)
"""How its queries are taken, how many associations it has, and which user identity it sends."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `add` and `edit` share."""
    for option in reversed(
        (
            click.option("--host", metavar="H", help="The host name or address of the peer."),
            click.option("--port", metavar="P", help="The port of the peer."),
            click.option(
                "--address",
                "addresses",
                multiple=True,
                metavar="CIDR",
                help="An address that it may call from; repeatable.",
            ),
            click.option(
                "--allow", metavar="LIST", help="Allowed services: echo,store,find,move,get,commit. Default: echo."
            ),
            click.option(
                "--project",
                "projects",
                multiple=True,
                metavar="GROUP/PROJECT[:ro|rw]",
                help="A project that it may access; repeatable.",
            ),
            click.option("--all-projects", is_flag=True, help="It may access every project."),
            click.option("--store-to", metavar="GROUP/PROJECT", help="Default project for incoming studies."),
            click.option(
                "--move-to",
                "moves_to",
                multiple=True,
                metavar="LABEL",
                help="An allowed C-MOVE destination, or any; repeatable.",
            ),
            click.option("--our-ae-title", metavar="AET", help="The calling AE title used with this peer."),
            *TLS_OPTIONS,
            *SETTINGS_OPTIONS,
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
    """Register a peer. By default it may only send C-ECHO and has no access to projects."""
    added = peers.register(label, **_given(options), actor=operator())
    return Answer(view=peers.view(added), message=f"Peer {added.label} registered.")


@peer.command("edit")
@click.argument("label")
@click.option("--ae-title", metavar="AET", help="Its AE title.")
@_options
@on_site
def edit(label: str, **options: Any) -> Answer:
    """Change the given options. Applies from the next association."""
    changes = _given(options)
    if not changes:
        raise click.UsageError("Give at least one option to change")
    return Answer(view=peers.view(peers.edit(label, **changes, actor=operator())), message=f"Peer {label} changed.")


@peer.command("list")
@on_site
def list_() -> Answer:
    """List the peers."""
    return Answer(
        view=[peers.view(row) for row in peers.list_all()],
        columns=("label", "ae_title", "host", "port", "services", "enabled", "state", "last_seen"),
        empty="No peers yet. Register one with: portal peer add",
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
        view=peers.view(peers.get(label)), message=f"Peer {label} disabled. Its next association is rejected."
    )


@peer.command("remove")
@click.argument("label")
@on_site
def remove(label: str) -> Answer:
    """Remove a peer and its grants. The objects that it sent remain."""
    view = peers.view(peers.get(label))
    peers.remove(label, actor=operator())
    return Answer(view=view, message=f"Peer {label} removed.")


@peer.command("echo")
@click.argument("label")
@on_site
def echo(label: str) -> Answer:
    """Send a C-ECHO to a peer and wait for the result."""
    job = wait_for_job(peers.request_echo(label, actor=operator()), patience=ECHO_TIMEOUT)
    return Answer(view=jobs.view(job), message=job.message, failure="" if job.state == "done" else job.message)


@click.group("refused")
def refused() -> None:
    """Refused callers."""


@refused.command("list")
@on_site
def list_refused() -> Answer:
    """List the refused callers, newest first."""
    return Answer(
        view=[refused_callers.view(row) for row in refused_callers.list_all()],
        columns=("id", "calling", "called", "address", "count", "last", "decision", "message"),
        empty="No refused callers.",
    )


@refused.command("ignore")
@click.argument("caller_id", metavar="ID", type=ROW_ID)
@on_site
def ignore(caller_id: int) -> Answer:
    """Hide a refused caller from the alerts."""
    ignored = refused_callers.ignore(caller_id, actor=operator())
    return Answer(
        view=refused_callers.view(ignored), message=f"Caller {ignored.calling} from {ignored.address} ignored."
    )


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The given options as `peers.register` and `peers.edit` take them."""
    allow, has_password = options.pop("allow"), options.pop("identity_password_stdin")
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if given.get("all_projects") is False:
        del given["all_projects"]
    for name in ("issuers", "pinned"):
        if name in given:
            given[name] = "" if given[name] == "none" else read_text(given[name])
    if has_password:
        given["identity_password"] = first_line("password")
    if allow is not None:
        given["services"] = tuple(part.strip() for part in allow.split(",") if part.strip())
    if "projects" in given:
        # GROUP/PROJECT:rw, or without a role for read-only. The name of a project may contain colons.
        parts = ((text, *text.rpartition(":")) for text in given["projects"])
        grants = ((project, role) if role in ("ro", "rw") else (text, "ro") for text, project, _colon, role in parts)
        given["projects"] = tuple(grants)
    return given


commands = (peer, refused)
