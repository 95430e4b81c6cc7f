"""What the sample's steps need: projects, the DIMSE service, a peer, a device, a storage. What is there stays."""

import socket
from collections.abc import Callable
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
    """Make what is missing, and say what there is."""
    actor = operator()
    _ensure(lambda: groups.get(GROUP, actor=actor), lambda: groups.add(GROUP, "Sample", actor=actor))
    for path in AE_TITLES:
        _ensure_project(path)
    say(f"Projects: {', '.join(f'{path} (AE title {title})' for path, title in AE_TITLES.items())}.")
    _ensure_dimse(say)
    _ensure(lambda: peers.get(PEER), _register_peer)
    if here := peer():
        say(f"Peer: {here.label} (AE title {here.ae_title}, {here.host}:{here.port}).")
    _ensure(lambda: devices.get(DEVICE), lambda: devices.add(DEVICE, "importer", actor=actor))
    folder = runtime.current().storage_roots[0] / "sample"
    _ensure(lambda: storages.get(STORAGE), lambda: storages.add(STORAGE, "fs", path=str(folder), actor=actor))
    say(f"Device: {DEVICE}. Storage: {STORAGE}, in {folder}.")


def _ensure(get: Callable[[], Any], add: Callable[[], Any]) -> None:
    try:
        get()
    except Missing:
        add()


def _ensure_project(path: str) -> None:
    _ensure(lambda: projects.get_by_path(path), lambda: projects.add(path, AE_TITLES[path], actor=operator()))


def _ensure_dimse(say: Callable[[str], None]) -> None:
    """Enable the service for this machine alone, unless it is enabled; on the next port if its own is taken."""
    if not site_settings.get("dimse.enabled"):
        wanted = site_settings.get("dimse.port")
        port = next((port for port in range(wanted, min(wanted + PORTS_TRIED, 65536)) if _is_free(port)), None)
        if port is None:
            raise BadValue(f"No port from {wanted} on is free. Name one: portal dimse enable --port P")
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
    """The sample's peer with a port that can be listened on; None if an admin has removed it or moved it elsewhere."""
    found = next((peer for peer in peers.list_all() if peer.label == PEER), None)
    if found is None or found.port is None or found.host != LOOPBACK:
        return None
    if not _is_free(found.port):  # another program has taken it since the last start
        return peers.edit(found.label, port=_some_port(), actor=operator())
    return found


def peer_address() -> list[str] | None:
    """Title, host and port that the sample's peer serves on; None where it has none."""
    with runtime.connection():
        found = peer()
    return [found.ae_title, found.host, str(found.port)] if found else None


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
