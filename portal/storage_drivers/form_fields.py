"""One field of a provider's form: what it asks for, and what a change of it means."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "lines", "choice", "secret", "secret_lines"]
Role = Literal["", "place", "account"]


@dataclass(frozen=True, kw_only=True)
class Field:
    name: str
    label: str
    hint: str
    kind: Kind = "text"
    """A secret is encrypted and never shown; all others may be shown."""
    role: Role = ""
    """`place`: it says where objects are stored, and cannot change once some were exported. A change of it, or of a
    field with the role `account`, requires the secrets again."""
    choices: tuple[tuple[str, str], ...] = ()
    is_wide: bool = False

    @property
    def is_secret(self) -> bool:
        return self.kind in ("secret", "secret_lines")


def names(form: Sequence[Field], role: Role = "") -> tuple[str, ...]:
    """Fields of a form that may be shown; with a role only those that have it."""
    return tuple(field.name for field in form if not field.is_secret and role in ("", field.role))


def secrets(form: Sequence[Field]) -> tuple[str, ...]:
    return tuple(field.name for field in form if field.is_secret)


def endpoint(hint: str) -> Field:
    return Field(name="endpoint", label="Endpoint URL", hint=hint, role="place", is_wide=True)


def ca(whose: str = "the endpoint") -> Field:
    hint = f"PEM, if the certificate of {whose} is from your own CA: then only what that CA has issued is trusted."
    return Field(name="ca", label="CA certificate", hint=hint, kind="lines", is_wide=True)
