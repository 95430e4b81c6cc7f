"""`portal dimse`: the DIMSE service of the site."""

from typing import Any

import click

from portal import site_settings
from portal.access.actors import operator
from portal.cli.context import on_site, read_text
from portal.cli.printing import Answer
from portal.tls import site_certificate

NAMES = ("enabled", "ae_title", "host", "port", "tls_port", "require_certificates", "echo_anyone")


@click.group("dimse")
def dimse() -> None:
    """The DIMSE service: enabled or not, its AE title, address and port."""


@dimse.command("enable")
@click.option("--ae-title", metavar="AET", help="The site's AE title. Default: unchanged; PORTICO on a new site.")
@click.option("--host", metavar="H", help="The address to listen on. Default: unchanged; 0.0.0.0 on a new site.")
@click.option("--port", metavar="P", help="The port to listen on. Default: unchanged; 11112 on a new site.")
@click.option("--tls-port", metavar="P", help="The port for TLS; 0 for none. Default: unchanged; none on a new site.")
@on_site
def enable(**options: str | None) -> Answer:
    """Enable the service or change its address. Takes effect within seconds."""
    given = {f"dimse.{name}": value for name, value in options.items() if value is not None}
    site_settings.change({**given, "dimse.enabled": True}, actor=operator())
    view = _view()
    tls = f", with TLS on port {view['tls_port']}" if view["tls_port"] else ""
    message = f"The DIMSE service is enabled: {view['ae_title']} on {view['host']}:{view['port']}{tls}."
    return Answer(view=view, message=message)


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


@dimse.command("certificate")
@on_site
def certificate() -> Answer:
    """Show the site's certificate for TLS."""
    view = site_certificate.view()
    return Answer(view=view or {}, message="" if view else "The site has no certificate yet.")


@dimse.command("create-certificate")
@click.argument("host")
@on_site
def create_certificate(host: str) -> Answer:
    """Create a private key and a self-signed certificate for the name HOST, and use them from now on."""
    site_certificate.create(host, actor=operator())
    return Answer(view=site_certificate.view() or {}, message=f"The site has a self-signed certificate for {host}.")


@dimse.command("install-certificate")
@click.argument("file")
@click.option("--key", metavar="FILE", help="PEM: its private key. Default: the key of the current certificate.")
@on_site
def install_certificate(file: str, key: str | None) -> Answer:
    """Use the certificate in FILE (PEM, followed by those of its issuers) from the next association on."""
    site_certificate.install(read_text(file), read_text(key) if key else "", actor=operator())
    return Answer(view=site_certificate.view() or {}, message="The certificate is installed.")


@dimse.command("request-certificate")
@on_site
def request_certificate() -> Answer:
    """Print a signing request (PKCS #10, PEM) for the current private key, for a CA."""
    request = site_certificate.signing_request()
    return Answer(view={"request": request}, message=request.rstrip())


def _view() -> dict[str, Any]:
    options = site_settings.get_all()
    return {name: options[f"dimse.{name}"] for name in NAMES}


commands = (dimse,)
