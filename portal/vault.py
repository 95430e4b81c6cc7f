"""The site's key file, and everything that is derived from it: sealed secrets, key digests, the session key."""

import contextlib
import hashlib
import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from portal.errors import Damaged

KEY_BYTES = 32
NONCE_BYTES = 12


class Vault:
    """Keys derived from one random key of 32 bytes that lies outside the database (design decision 7)."""

    def __init__(self, site_key: bytes) -> None:
        self._site_key = site_key

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose (HKDF, RFC 5869); the same ones after each start."""
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(self._site_key)

    def digest(self, purpose: str, text: str) -> str:
        """HMAC-SHA-256 in hex: what is kept of a secret that need only be recognised."""
        return hmac.new(self.derive(purpose), text.encode(), hashlib.sha256).hexdigest()

    def seal(self, secret: str, *, row: str) -> bytes:
        """Encrypt a secret for one row (`storage:7`); it opens for that row alone (AES-256-GCM)."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self.derive("seal")).encrypt(nonce, secret.encode(), row.encode())

    @property
    def fingerprint(self) -> str:
        """What a database keeps of its key, to tell it from another one; the key cannot be guessed from it."""
        return self.derive("fingerprint").hex()[:32]

    def opens(self, sealed: bytes, *, row: str) -> bool:
        """Whether a secret was sealed with this key, for this row."""
        try:
            self.unseal(sealed, row=row)
        except Damaged:
            return False
        return True

    def unseal(self, sealed: bytes, *, row: str) -> str:
        """The secret that was sealed for this row. Raises Damaged if it was sealed by another key or for another."""
        try:
            opened = AESGCM(self.derive("seal")).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], row.encode())
        except InvalidTag as error:
            raise Damaged(
                "A stored credential cannot be opened with the site's key file. Enter the credential again."
            ) from error
        return opened.decode()


def create_key_file(path: Path) -> None:
    """Make a key file (0600), unless there is one: two starts at once agree on one key."""
    with contextlib.suppress(FileExistsError):
        _make(path)


def open_vault(path: Path) -> Vault:
    """The vault of a key file. Raises Damaged for a file that holds no key."""
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise Damaged(f"The key file {path} has {len(key)} bytes instead of {KEY_BYTES}. Restore it from a backup.")
    return Vault(key)


def _make(path: Path) -> None:
    """Write a fresh key under its own name, then link it: two starts at once agree on one key, never on half of one."""
    if path.exists():
        raise FileExistsError(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)
    finally:
        fresh.unlink()
