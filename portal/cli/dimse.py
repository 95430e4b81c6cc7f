"""`portal dimse`: the DIMSE service of the site."""

from typing import Any

import click

from portal import site_settings
from portal.access.actors import operator
from portal.cli.context import NotAvailable, on_site
from portal.cli.printing import Answer


@click.group("dimse")
def dimse() -> None:
    """The DIMSE service: enabled or not, its AE title, address and port."""


@dimse.command("enable")
@click.option("--ae-title", metavar="AET", help="The site's AE title. Default: unchanged; PORTICO on a new site.")
@click.option("--host", metavar="H", help="The address to listen on. Default: unchanged; 0.0.0.0 on a new site.")
@click.option("--port", metavar="P", help="The port to listen on. Default: unchanged; 11112 on a new site.")
@click.option("--tls-port", metavar="P", help="The port for TLS. Not available yet.")
@on_site
def enable(tls_port: str | None, **options: str | None) -> Answer:
    """Enable the service or change its address. Takes effect within seconds."""
    if tls_port is not None:
        raise NotAvailable("Not available yet: --tls-port.")
    given = {f"dimse.{name}": value for name, value in options.items() if value is not None}
    site_settings.change({**given, "dimse.enabled": True}, actor=operator())
    view = _view()
    return Answer(
        view=view, message=f"The DIMSE service is enabled: {view['ae_title']} on {view['host']}:{view['port']}."
    )


@dimse.command("disable")
@on_site
def disable() -> Answer:
    """Disable the service. Running associations may finish; the port is closed."""
    site_settings.change({"dimse.enabled": False}, actor=operator())
    return Answer(view=_view(), message="The DIMSE service is disabled.")


@dimse.command("show")
@on_site
def show() -> Answer:
    """Show the service's settings."""
    return Answer(view=_view())


def _view() -> dict[str, Any]:
    options = site_settings.get_all()
    return {name: options[f"dimse.{name}"] for name in ("enabled", "ae_title", "host", "port", "echo_anyone")}


commands = (dimse,)
