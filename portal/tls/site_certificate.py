"""The site's own certificate for TLS and its private key: one whole pair at any time, installed in one transaction."""

import ipaddress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from portal import runtime
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import BadValue, Damaged, Missing
from portal.models import Secret, SiteCertificate, now, writing
from portal.tls import certificates, chains
from portal.tls.certificates import PrivateKey, fingerprint

SELF_SIGNED_DAYS = 825


@dataclass(frozen=True)
class Pair:
    """The certificate, those of its issuers, and the private key."""

    row: int
    """Another number after each change."""
    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = field(repr=False)


def current() -> Pair | None:
    """The pair in use; None if none is installed. Raises Damaged if its key was sealed by a site key that is lost."""
    row = _row()
    if row is None:
        return None
    sealed = Secret.get_or_none(Secret.row == f"certificate:{row.id}")
    if sealed is None:
        raise Damaged("The private key of the site's certificate is lost. Install a certificate with its key again.")
    key = runtime.secrets().unseal(bytes(sealed.sealed), row=sealed.row)
    chain = certificates.read_all(row.chain, field="chain")
    return Pair(int(row.id), tuple(chain), certificates.read_key(key, field="key"))


def view() -> dict[str, Any] | None:
    """The certificate as pages and `--json` show it; None if none is installed."""
    row = _row()
    if row is None:
        return None
    leaf, *issuers = certificates.read_all(row.chain, field="chain")
    names = chains.names(leaf)
    return {**certificates.view(leaf), "names": names, "chain": len(issuers), "installed": row.installed}


def chain() -> str:
    """The PEM text of the certificate and its issuers, to give to peers. Raises Missing."""
    row = _row()
    if row is None:
        raise Missing("The site has no certificate yet. Create or install one in Settings.")
    return str(row.chain)


def install(chain: str, key: str = "", *, actor: Actor) -> str:
    """Use a certificate, with those of its issuers behind it; without a key, that of the current one goes with it.

    Applies to the next association; returns the fingerprint. Raises BadValue, and changes nothing, if the two do not
    belong together.
    """
    rights.require_admin(actor)
    found = certificates.read_all(chain, field="chain")
    if not found:
        raise BadValue("Enter the certificate in PEM form.", field="chain")
    if key.strip():
        private = certificates.read_key(key, field="key")
    else:
        pair = current()
        if pair is None:
            raise BadValue("Enter the private key too: the site has none yet.", field="key")
        private = pair.key
    if found[0].public_key() != private.public_key():
        belongs = "the private key" if key.strip() else "the current private key"
        raise BadValue(f"The first certificate does not belong to {belongs}.", field="key" if key.strip() else "chain")
    try:
        chains.require_valid_now(found[0])
        chains.require_use(found[0], chains.SERVER)
    except chains.NotTrusted as error:
        raise BadValue(f"The certificate {error}. Enter another one.", field="chain") from None
    return _write(found, private, actor, "certificate:installed")


def create(host: str, *, actor: Actor) -> str:
    """Make a private key (P-256) and a certificate that it signs itself, valid for SELF_SIGNED_DAYS.

    `host`: the name or address by which peers call the site. Returns the fingerprint. Raises BadValue.
    """
    rights.require_admin(actor)
    try:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host.strip())])
    except ValueError:
        message = "Enter the name by which peers call the site, of 1 to 64 characters."
        raise BadValue(message, field="host") from None
    private = ec.generate_private_key(ec.SECP256R1())
    begins = now() - timedelta(hours=1)  # the clock of a peer may be behind
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(_alternative(host), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([chains.SERVER, chains.CLIENT]), critical=False)
        .sign(private, SHA256())
    )
    return _write([made], private, actor, "certificate:created")


def signing_request() -> str:
    """A request, in PEM, that a CA signs the current key with the same names (PKCS #10). Raises Missing."""
    pair = current()
    if pair is None:
        raise Missing("The site has no private key yet. Create a self-signed certificate first.")
    leaf = pair.chain[0]
    names = chains.names(leaf)
    request = x509.CertificateSigningRequestBuilder().subject_name(leaf.subject)
    if names:
        request = request.add_extension(_alternative(*names), critical=False)
    return request.sign(pair.key, SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _row() -> Any:
    return SiteCertificate.select().order_by(SiteCertificate.id.desc()).first()


def _alternative(*hosts: str) -> x509.SubjectAlternativeName:
    """Subject alternative names; a host is an IP address or a DNS name."""
    found: list[x509.GeneralName] = []
    for host in map(str.strip, hosts):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            if not host.isascii() or not host or any(character.isspace() for character in host):
                raise BadValue(f"{host[:64]!r} is not a host name or an IP address.", field="host") from None
            found.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(found)


def _write(chain: list[x509.Certificate], key: PrivateKey, actor: Actor, action: str) -> str:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    leaf = chain[0]
    pem, shown = certificates.pem_of(chain), fingerprint(leaf)
    with writing():
        before = _row()
        created = SiteCertificate.create(chain=pem, fingerprint=shown, expires=leaf.not_valid_after_utc)
        sealed_for = f"certificate:{created.id}"
        by = {"set_by": actor.name} if actor.name else {}
        Secret.create(row=sealed_for, sealed=runtime.secrets().seal(encoded, row=sealed_for), **by)
        Secret.delete().where(Secret.row.startswith("certificate:"), Secret.row != sealed_for).execute()
        SiteCertificate.delete().where(SiteCertificate.id != created.id).execute()
        was = before.fingerprint if before is not None else ""
        expires = leaf.not_valid_after_utc.isoformat()
        audit.record(actor, action, "site", "", certificate=shown, previous=was, expires=expires)
    return shown
