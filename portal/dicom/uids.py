"""UIDs that come from outside (PS3.5 9.1)."""

import re

from portal.errors import NotDicom

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
MAX_UID_LENGTH = 64


def clean(text: str, *, name: str) -> str:
    """The UID without its padding. Raises NotDicom unless it is `[0-9.]{1,64}` without an empty component.

    A component with a leading 0 violates the standard, but occurs in the field: it is kept and compared as written.
    """
    uid = text.rstrip("\0 ").lstrip(" ")
    if len(uid) > MAX_UID_LENGTH or not _UID.fullmatch(uid):
        raise NotDicom(f"{name} is {uid[:MAX_UID_LENGTH]!r}, which is not a valid UID.")
    return uid
