"""What the sample steps need: projects, the DIMSE service, a peer, a device, a storage. Existing ones are kept."""

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from portal import runtime, site_settings
from portal.access.actors import operator
from portal.devices import devices
from portal.errors import BadValue, Missing
from portal.models import Peer
from portal.peers import peers
from portal.storage import storages
from portal.tree import groups, projects

GROUP, CLINIC, RESEARCH = "sample", "sample/Clinic", "sample/Research"
AE_TITLES = {CLINIC: "SAMPLE_CLINIC", RESEARCH: "SAMPLE_RESEARCH"}
PEER, PEER_AE_TITLE = "Sample workstation", "SAMPLE_WS"
DEVICE = "Sample importer"
STORAGE = "Sample export"
LOOPBACK = "127.0.0.1"
PORTS_TRIED = 50


def create_missing(say: Callable[[str], None]) -> None:
    """Create what is missing, and print what there is."""
    actor = operator()
    _ensure(lambda: groups.get(GROUP, actor=actor), lambda: groups.add(GROUP, "Sample", actor=actor))
    for path, title in AE_TITLES.items():
        _ensure(partial(projects.get_by_path, path), partial(projects.add, path, title, actor=actor))
    say(f"Projects: {', '.join(f'{path} (AE title {title})' for path, title in AE_TITLES.items())}.")
    _ensure_dimse(say)
    _ensure(lambda: peers.get(PEER), _register_peer)
    if row := peer():
        say(f"Peer: {row.label} (AE title {row.ae_title}, {row.host}:{row.port}).")
    _ensure(lambda: devices.get(DEVICE), lambda: devices.add(DEVICE, "importer", actor=actor))
    folder = runtime.current().storage_roots[0] / "sample"
    _ensure(lambda: storages.get(STORAGE), lambda: storages.add(STORAGE, "fs", path=str(folder), actor=actor))
    say(f"Device: {DEVICE}. Storage: {STORAGE}, in {folder}.")


def _ensure(get: Callable[[], Any], add: Callable[[], Any]) -> None:
    try:
        get()
    except Missing:
        add()


def _ensure_dimse(say: Callable[[str], None]) -> None:
    """Enable the service for this machine only, unless it is enabled; on the next free port if its own is taken."""
    if not site_settings.get("dimse.enabled"):
        wanted = site_settings.get("dimse.port")
        port = next((port for port in range(wanted, min(wanted + PORTS_TRIED, 65536)) if _is_free(port)), None)
        if port is None:
            raise BadValue(f"No port from {wanted} on is free. Choose one: portal dimse enable --port P")
        site_settings.change({"dimse.enabled": True, "dimse.host": LOOPBACK, "dimse.port": port}, actor=operator())
    options = site_settings.get_all()
    say(f"DIMSE: {options['dimse.ae_title']} on {options['dimse.host']}:{options['dimse.port']}.")


def _register_peer() -> None:
    peers.register(
        PEER,
        ae_title=PEER_AE_TITLE,
        host=LOOPBACK,
        port=_some_port(),
        addresses=(LOOPBACK,),
        services=("echo", "store", "find", "move", "get"),
        projects=((CLINIC, "rw"), (RESEARCH, "ro")),
        store_to=CLINIC,
        actor=operator(),
    )


def peer() -> Peer | None:
    """The sample peer with a port that is free to listen on; None if an admin has removed or moved it."""
    row = next((peer for peer in peers.list_all() if peer.label == PEER), None)
    if row is None or row.port is None or row.host != LOOPBACK:
        return None
    if not _is_free(row.port):  # another program has taken it since the last start
        return peers.edit(row.label, port=_some_port(), actor=operator())
    return row


def peer_address() -> list[str] | None:
    """AE title, host and port of the sample peer; None if it cannot be served."""
    with runtime.connection():
        row = peer()
    return [row.ae_title, row.host, str(row.port)] if row else None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _some_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
