"""Checks the fields of a peer as a form or a command gives them."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from portal import site_settings
from portal.access.rights import UNKNOWN_GROUP
from portal.dicom import ae_titles
from portal.errors import BadValue, PortalError, Taken
from portal.models import Peer, Project
from portal.peers import limits, query_settings, user_identity
from portal.peers.limits import PeerLimits
from portal.peers.query_settings import QuerySettings
from portal.peers.user_identity import IdentityRule
from portal.tls import certificates
from portal.tree import labels, projects

SERVICES = ("echo", "store", "find", "move", "get", "commit")
TLS_FIELDS = ("tls", "tls_name", "tls_any_name", "issuers", "pinned")
ANY = "any"
"""In place of a peer's label: every peer may be named as C-MOVE destination."""

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9.])?")
_MAX_ADDRESSES = 64

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class PeerFields:
    """The checked fields of a peer. `grants` are (project, role) in the order of precedence."""

    label: str
    ae_title: str
    our_ae_title: str
    host: str
    port: int | None
    addresses: tuple[str, ...]
    services: tuple[str, ...]
    grants: tuple[tuple[Project, str], ...]
    all_projects: bool
    store_to: Project | None
    moves_to: tuple[int | str, ...]
    tls: bool
    tls_name: str
    tls_any_name: bool
    issuers: str
    """PEM, as `pinned`."""
    pinned: str
    confirm_sends: bool
    limits: PeerLimits
    queries: QuerySettings
    identity: IdentityRule

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the `Peer` row; grants are rows of their own."""
        names = ("label", "ae_title", "our_ae_title", "host", "port", "store_to", "confirm_sends", *TLS_FIELDS)
        lists = ("addresses", "services", "moves_to")
        plain = {name: getattr(self, name) for name in names} | {name: list(getattr(self, name)) for name in lists}
        return plain | {name: getattr(self, name).stored for name in ("limits", "queries", "identity")}


def clean(values: dict[str, Any], *, peer_id: int | None) -> PeerFields:
    """Check all fields of one peer (`peer_id`: the one that is edited). Raises BadValue or Taken, with its field."""
    row = None if peer_id is None else Peer.get_by_id(peer_id)
    host, port = _host_and_port(values["host"], values["port"])
    if values["all_projects"] and values["projects"]:
        raise BadValue("Give a peer either some projects or all of them, not both.", field="projects")
    pinned = certificates.read_all(values["pinned"], field="pinned")
    if len(pinned) > 1:
        raise BadValue("Enter the peer's own certificate alone, without those of its issuers.", field="pinned")
    return PeerFields(
        label=_label(values["label"], peer_id),
        ae_title=ae_titles.clean(values["ae_title"]),
        our_ae_title=ae_titles.clean(values["our_ae_title"], field="our_ae_title") if values["our_ae_title"] else "",
        host=host,
        port=port,
        addresses=_addresses(values["addresses"]),
        services=_services(values["services"]),
        grants=_grants(values["projects"]),
        all_projects=bool(values["all_projects"]),
        store_to=_project(values["store_to"], "store_to") if values["store_to"] else None,
        moves_to=_moves_to(values["moves_to"]),
        tls=bool(values["tls"]),
        tls_name=_host_name(values["tls_name"], field="tls_name"),
        tls_any_name=bool(values["tls_any_name"]),
        issuers=certificates.pem_of(certificates.read_all(values["issuers"], field="issuers")),
        pinned=certificates.pem_of(pinned),
        confirm_sends=bool(values["confirm_sends"]),
        limits=limits.clean(values),
        queries=query_settings.clean(values),
        identity=user_identity.clean(values, current=IdentityRule() if row is None else user_identity.of(row)),
    )


def audited(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a peer for the audit log: of its certificates the fingerprints."""
    prints = {name: [one["fingerprint"] for one in certificates.views(fields[name])] for name in ("issuers", "pinned")}
    return {**fields, **prints}


def settings_of(peer: Peer) -> dict[str, Any]:
    """Its limits, and how its queries and identities are taken, as `clean` takes them; never the password."""
    queries, identity = query_settings.of(peer), user_identity.of(peer)
    return {
        "confirm_sends": peer.confirm_sends,
        "lenient_queries": queries.lenient,
        "assumed_character_set": queries.assumed,
        "answer_character_set": queries.answered_in,
        "max_associations": limits.of(peer).incoming,
        "identity": identity.rule,
        "identity_user": identity.user,
    }


DEFAULT_SETTINGS: dict[str, Any] = {
    "tls": False,
    "tls_name": "",
    "tls_any_name": False,
    "issuers": "",
    "pinned": "",
    "confirm_sends": False,
    "lenient_queries": False,
    "assumed_character_set": "",
    "answer_character_set": "",
    "max_associations": None,
    "identity": "",
    "identity_user": "",
    "identity_password_hash": "",
}


def networks(addresses: Sequence[str]) -> list[Network]:
    return [ipaddress.ip_network(address) for address in addresses]


def allows_address(addresses: Sequence[str], address: str) -> bool:
    """Whether a list of ranges contains an address; an empty list contains every one."""
    if not addresses:
        return True
    caller = ipaddress.ip_address(address)
    return any(caller in network for network in networks(addresses))


def overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether an address is in both lists; an empty list contains every one."""
    if not one or not other:
        return True
    return any(a.version == b.version and a.overlaps(b) for a in networks(one) for b in networks(other))


def _label(text: str, peer_id: int | None) -> str:
    label = labels.clean(text)
    if label == ANY:
        raise BadValue(f"{ANY} means every peer; give this one another label.", field="label")
    if Peer.select().where(Peer.label == label, Peer.id != peer_id).exists():
        raise Taken(f"There is a peer {label} already.", field="label")
    return label


def _host_and_port(host: Any, port: Any) -> tuple[str, int | None]:
    """Where we call the peer: both or neither."""
    name = _host_name(host, field="host")
    number = site_settings.clean_port(port, field="port") if port not in (None, "") else None
    if name and number is None:
        raise BadValue("A host needs a port too, such as 104 or 11112.", field="port")
    if number is not None and not name:
        raise BadValue("A port needs a host too: a name or an IP address.", field="host")
    return name, number


def _host_name(text: Any, *, field: str) -> str:
    """A host name or an address; an empty text is none."""
    name = str(text or "").strip()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        only_numbers = set(name) <= set("0123456789.")
        if name and (not _HOST.fullmatch(name) or only_numbers or ".." in name):
            raise BadValue(f"{name[:64]!r} is not a host name or an IP address.", field=field) from None
    return name


def _addresses(texts: Iterable[str]) -> tuple[str, ...]:
    ranges: dict[str, None] = {}
    for text in map(str.strip, texts):
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            message = f"{text[:64]!r} is not an address range. Write it like 10.0.0.7 or 10.0.0.0/24."
            raise BadValue(message, field="addresses") from None
        try:
            ipaddress.ip_network(text)
        except ValueError:
            message = f"{text} has bits beyond its mask. Write {network} for the whole range."
            raise BadValue(message, field="addresses") from None
        ranges[str(network)] = None
    if len(ranges) > _MAX_ADDRESSES:
        raise BadValue(f"A peer has at most {_MAX_ADDRESSES} address ranges; use wider ones.", field="addresses")
    return tuple(ranges)


def _services(names: Iterable[str]) -> tuple[str, ...]:
    asked = set(names)
    if unknown := sorted(asked - set(SERVICES)):
        raise BadValue(f"{unknown[0][:32]!r} is not a service. Services are {', '.join(SERVICES)}.", field="services")
    return tuple(service for service in SERVICES if service in asked)


def _grants(paths_and_roles: Iterable[tuple[str, str]]) -> tuple[tuple[Project, str], ...]:
    grants: dict[int, tuple[Project, str]] = {}
    for path, role in paths_and_roles:
        if role not in ("ro", "rw"):
            raise BadValue(
                f"{role[:16]!r} is not a role. A role is ro (read) or rw (read and store).", field="projects"
            )
        project = _project(path, "projects")
        if project.id in grants:
            raise BadValue(f"{path[:100]} is listed twice.", field="projects")
        grants[project.id] = (project, role)
    return tuple(grants.values())


def _project(path: str, field: str) -> Project:
    try:
        project = projects.get_by_path(path)
    except PortalError as error:
        raise BadValue(error.message, field=field) from error
    if project.group.code == UNKNOWN_GROUP:
        raise BadValue(f"The group {UNKNOWN_GROUP} is for admins only; no peer gets access to it.", field=field)
    return project


def _moves_to(names: Iterable[str]) -> tuple[int | str, ...]:
    wanted = list(dict.fromkeys(names))
    if ANY in wanted:
        return (ANY,)
    peer_ids = []
    for label in wanted:
        row = Peer.get_or_none(Peer.label == label)
        if row is None:
            raise BadValue(f"There is no peer {label[:64]!r} to move to. Add it first.", field="moves_to")
        peer_ids.append(int(row.id))
    return tuple(peer_ids)
