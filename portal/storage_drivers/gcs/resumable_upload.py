"""The state of a resumable upload to Google Cloud Storage."""

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any

from portal.storage_drivers.store import Body, Upload


@dataclass
class ResumableUpload(Upload):
    """An upload with its address, the MD5 of what was sent, and the object that it became."""

    path: str = ""
    is_unsure: bool = False
    """Whether the last request was interrupted, so that the store must be asked how much it received."""
    md5: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    hashed: int = 0
    created: dict[str, Any] | None = None

    @property
    def base64_md5(self) -> str:
        return base64.b64encode(self.md5.digest()).decode()

    def add(self, offset: int, body: Body) -> None:
        """Add a part to the MD5, once, however often it is sent."""
        if offset == self.hashed:
            self.md5.update(body)
            self.hashed += len(body)


def require_resumable(upload: Upload) -> ResumableUpload:
    if not isinstance(upload, ResumableUpload):
        raise TypeError("this upload was begun by another store")
    return upload
