"""Passwords as hashes: argon2id, compared in constant time."""

import secrets
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from portal import runtime

MIN_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH = 8, 200

# Argon2id with 32 MiB: above the minimum of OWASP, and affordable when ten people sign in at once.
_HASHER = PasswordHasher(time_cost=3, memory_cost=32 * 1024, parallelism=1)
_CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def hasher() -> PasswordHasher:
    return _CHEAP_HASHER if runtime.current().cheap_passwords else _HASHER


def matches(hashed: str, password: str) -> bool:
    """Whether a password is the one of this hash."""
    try:
        return hasher().verify(hashed, password[: MAX_PASSWORD_LENGTH + 1])
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False


def decoy() -> str:
    """A hash that no password matches, so that an unknown name takes as long as a wrong password."""
    return decoy_of(hasher())


@lru_cache(maxsize=2)
def decoy_of(one: PasswordHasher) -> str:
    return one.hash(secrets.token_urlsafe(15))
