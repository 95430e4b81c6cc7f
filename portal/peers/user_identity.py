"""User identities that peers send with their association requests (PS3.7 D.3.3.7), and what a peer has to send."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from portal.access import passwords
from portal.errors import BadValue
from portal.models import Peer

RULES = ("ignored", "refused", "required")
USER_NAME_AND_PASSWORD = 2
KINDS = {
    1: "a user name",
    2: "a user name and a password",
    3: "a Kerberos ticket",
    4: "a SAML assertion",
    5: "a JSON web token",
}
"""Types of user identities (PS3.7 table D.3-14)."""
MAX_NAME_LENGTH = 64


@dataclass(frozen=True)
class UserIdentity:
    """What a requestor says about its user."""

    kind: int
    wants_response: bool
    primary: bytes = field(repr=False, default=b"")
    secondary: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRule:
    """What a peer has to send. An empty rule is the site's."""

    rule: str = ""
    user: str = ""
    password_hash: str = field(repr=False, default="")

    @property
    def stored(self) -> dict[str, Any]:
        return {"rule": self.rule, "user": self.user, "password_hash": self.password_hash}


def of(peer: Peer) -> IdentityRule:
    return IdentityRule(**(peer.identity or {}))


def with_hash(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with a hash in place of the password, which takes too long for a write block. Raises BadValue."""
    hashed = dict(values)
    password = str(hashed.pop("identity_password", None) or "")
    if not password:
        return hashed
    least, most = passwords.MIN_PASSWORD_LENGTH, passwords.MAX_PASSWORD_LENGTH
    if not least <= len(password) <= most:
        raise BadValue(f"A password has {least} to {most} characters.", field="identity_password")
    return {**hashed, "identity_password_hash": passwords.hasher().hash(password)}


def clean(values: Mapping[str, Any], *, current: IdentityRule) -> IdentityRule:
    """The rule from values `with_hash`; without a password, the current one stays. Raises BadValue."""
    rule = str(values["identity"] or "")
    if rule not in ("", *RULES):
        raise BadValue(f"A user identity is one of: {', '.join(RULES)}.", field="identity")
    user, hashed = str(values["identity_user"] or "").strip(), values["identity_password_hash"] or current.password_hash
    if len(user) > MAX_NAME_LENGTH or not user.isprintable():
        raise BadValue(f"A user name has at most {MAX_NAME_LENGTH} characters.", field="identity_user")
    if rule == "required" and not user:
        raise BadValue("Enter the user name that the peer sends.", field="identity_user")
    if rule == "required" and not hashed:
        raise BadValue("Enter the password that the peer sends.", field="identity_password")
    return IdentityRule(rule=rule, user=user, password_hash=hashed)


def refusal(peer: Peer, identity: UserIdentity | None, *, site_rule: str) -> str:
    """Why an association with this identity is refused, as a sentence; empty if it is not.

    A wrong name takes as long as a wrong password.
    """
    own = of(peer)
    rule = own.rule or site_rule
    if rule == "refused" and identity is not None:
        return f"{peer.label} sent a user identity, which is refused here. Turn it off at the peer, or ignore it."
    if rule != "required":
        return ""
    if not own.password_hash:
        return f"{peer.label} has to send a user name and a password, and has none here. Add them to the peer."
    if identity is None:
        return f"{peer.label} sent no user identity. Enter its user name and password at the peer."
    if identity.kind != USER_NAME_AND_PASSWORD:
        sent = KINDS.get(identity.kind, "a user identity of an unknown type")
        return f"{peer.label} sent {sent}. Only a user name with a password is accepted here."
    is_user = secrets.compare_digest(identity.primary, own.user.encode())
    given = identity.secondary.decode("utf-8", "replace")
    if not passwords.matches(own.password_hash if is_user else passwords.decoy(), given) or not is_user:
        return f"{peer.label} sent a wrong user name or password. Enter the same at the peer and here."
    return ""
