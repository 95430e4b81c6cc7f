"""`python -m dimse_worker.self_echo DATA`: the site's own C-ECHO to its own listener, for `portal status`."""

import sys
from pathlib import Path

from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import

from portal import runtime, settings, site_settings
from portal.processes import health

TIMEOUT_SECONDS = 5


def echo() -> str:
    """What went wrong; empty if the listener answered 0000. Our own AE title is accepted from this machine."""
    with runtime.connection():
        options = site_settings.get_all()
    host, port, title = health.reachable_host(options["dimse.host"]), options["dimse.port"], options["dimse.ae_title"]
    ae = AE(ae_title=title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = TIMEOUT_SECONDS
    ae.add_requested_context(Verification)
    assoc = ae.associate(host, port, ae_title=title)
    if assoc.is_rejected:
        return f"The listener on {host}:{port} rejects the site's own AE title {title}."
    if not assoc.is_established:
        return f"Nothing answers as {title} on {host}:{port}. See logs/listen.log in the data folder."
    status = assoc.send_c_echo()
    assoc.release()
    if "Status" in status and status.Status == 0:
        return ""
    return f"The C-ECHO on {host}:{port} was not answered with 0000."


def main(arguments: list[str]) -> int:
    """1, with the message on stdout, if the listener does not answer."""
    runtime.start(settings.load(Path(arguments[0])))
    message = echo()
    if message:
        sys.stdout.write(f"{message}\n")
    return 1 if message else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
