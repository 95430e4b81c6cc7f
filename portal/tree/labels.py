"""Labels: the names that people give to a group, a project, a device, a key."""

import unicodedata

from portal.errors import BadValue

MAX_LABEL_LENGTH = 64


def clean(text: str, *, field: str = "label") -> str:
    """The label in NFC without spaces around it. Raises BadValue unless it has 1 to 64 visible characters, no slash."""
    label = unicodedata.normalize("NFC", text[: 8 * MAX_LABEL_LENGTH]).strip()
    if not label:
        raise BadValue(f"The {field} needs at least one visible character.", field=field)
    if len(label) > MAX_LABEL_LENGTH:
        raise BadValue(f"The {field} has more than {MAX_LABEL_LENGTH} characters; shorten it.", field=field)
    if not label.isprintable():
        raise BadValue(f"The {field} has a control character or another one that cannot be seen.", field=field)
    if "/" in label or label in (".", ".."):
        raise BadValue(f"The {field} must not contain a slash, nor be . or .. .", field=field)
    return label
