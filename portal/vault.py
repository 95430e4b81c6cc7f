"""The site's key file and what is derived from it: sealed secrets, digests of API keys, the session key."""

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
    """Keys derived from one random key of 32 bytes, kept outside the database (docs/decisions/0085)."""

    def __init__(self, site_key: bytes) -> None:
        self._site_key = site_key
        self._derived: dict[str, bytes] = {}

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose (HKDF, RFC 5869); the same ones after each start."""
        if purpose not in self._derived:
            self._derived[purpose] = HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(self._site_key)
        return self._derived[purpose]

    def digest(self, purpose: str, text: str) -> str:
        """HMAC-SHA-256 in hex: what is stored of a secret that need only be recognised."""
        return hmac.new(self.derive(purpose), text.encode(), hashlib.sha256).hexdigest()

    def seal(self, secret: str, *, row: str) -> bytes:
        """Encrypt a secret for one row (`storage:7`), and for that row only (AES-256-GCM)."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self.derive("seal")).encrypt(nonce, secret.encode(), row.encode())

    @property
    def fingerprint(self) -> str:
        """Identifies the key in the database, without revealing it."""
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
                "A stored credential cannot be decrypted with the site's key file. Enter the credential again."
            ) from error
        return opened.decode()


def create_key_file(path: Path) -> None:
    """Create a key file (0600), unless there is one."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    # Written under a name of its own and then linked, so that two starts at once agree on one whole key.
    try:
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()


def open_vault(path: Path) -> Vault:
    """The vault of a key file. Raises Damaged if the file is not a key."""
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise Damaged(f"The key file {path} has {len(key)} bytes instead of {KEY_BYTES}. Restore it from a backup.")
    return Vault(key)
