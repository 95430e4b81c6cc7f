"""Reading a manifest back, line by line as `manifest.build` writes it, in constant memory."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from typing import Any

from portal import runtime
from portal.errors import BadValue
from portal.exports.manifest import FORMAT

MAX_LINE_BYTES = 1 << 20
MAX_HEAD_LINES = 50
"""Lines before the items."""
MAX_OBJECT_BYTES = 1 << 62
NOT_A_MANIFEST = "It is no manifest of Portico, or it was cut off."

Entry = dict[str, Any]
TEXT_KEYS = {"key": None, "sha256": None, "sidecar_of": "", "name": ""}
"""Keys of an entry whose values are text, each with its default."""


class ManifestReader:
    """Call `entries` once; the other attributes are known when it has ended."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._whole = hashlib.sha256()
        self._signed = hmac.new(runtime.secrets().derive("manifest"), digestmod=hashlib.sha256)
        self.head: dict[str, Any] = {}
        self.size = 0
        self.is_ours = False
        """Whether it has this site's signature."""
        self._is_over = False

    @property
    def digest(self) -> str:
        return self._whole.hexdigest()

    def entries(self) -> Iterator[Entry]:
        """Each object that the manifest lists as arrived. Raises BadValue where it is no manifest."""
        lines = self._lines()
        first = next(lines, b"").decode(errors="replace").removeprefix("{").removesuffix(",")
        if self._value(f"{{{first}}}") != {"format": FORMAT}:
            raise BadValue(NOT_A_MANIFEST)
        for _number, line in zip(range(MAX_HEAD_LINES), lines, strict=False):
            if line == b'"items": [':
                break
            self.head |= self._value(b"{%s}" % line.removesuffix(b","))
        else:
            raise BadValue(NOT_A_MANIFEST)

        for line in lines:
            if line == b"],":
                break
            entry = self._value(line.removesuffix(b","))
            if type(entry.get("size")) is not int or not 0 <= entry["size"] < MAX_OBJECT_BYTES:
                raise BadValue(NOT_A_MANIFEST)
            for name, default in TEXT_KEYS.items():
                text = entry.get(name, default)
                # A table takes no half of a character, which JSON can spell.
                if not isinstance(text, str) or text != text.encode(errors="replace").decode():
                    raise BadValue(NOT_A_MANIFEST)
            yield entry
        for _line in lines:
            pass  # the failed objects, and the signature
        if not self._is_over:
            raise BadValue(NOT_A_MANIFEST)

    def check(self) -> None:
        """Read all of it. Raises BadValue where it is no manifest."""
        for _entry in self.entries():
            pass

    def _value(self, text: str | bytes) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadValue(NOT_A_MANIFEST) from error
        if not isinstance(value, dict):
            raise BadValue(NOT_A_MANIFEST)
        return value

    def _lines(self) -> Iterator[bytes]:
        """Each line but the last, which is the signature of all before it."""
        waiting = b""
        for chunk in self._chunks:
            self.size += len(chunk)
            self._whole.update(chunk)
            *lines, waiting = (waiting + chunk).split(b"\n")
            if len(waiting) > MAX_LINE_BYTES:
                raise BadValue(NOT_A_MANIFEST)
            for line in lines:
                if not line.startswith(b'"signature": '):
                    self._signed.update(line + b"\n")
                    yield line
                    continue
                signature = self._value(b"{" + line).get("signature")
                self._is_over = True
                self.is_ours = isinstance(signature, str) and hmac.compare_digest(
                    signature.encode(errors="replace"), self._signed.hexdigest().encode()
                )
