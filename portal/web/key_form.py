"""The form of a new API key, of a device or a user."""

from datetime import datetime, timedelta
from typing import Any

from portal.web import formats
from portal.web.forms import Form, checkbox, end_of_day, hidden, lines, split, text


class KeyForm(Form):
    name = text("Name")
    expires = text("Expires on")
    read_only = checkbox("Read only")
    only = text("Only in this group or project")
    addresses = lines("Only from these addresses")
    newest = hidden()

    @property
    def is_narrowing(self) -> bool:
        """Whether the fields of a narrowing are shown at once: one of them is filled in or has an error."""
        fields = (self.read_only, self.only, self.addresses)
        return any(field.data or field.errors for field in fields)

    def terms(self) -> dict[str, Any]:
        """What `api_keys.issue` takes."""
        return {
            **self.renewal(),
            "read_only": self.read_only.data,
            "only": self.only.data,
            "addresses": split(self.addresses.data),
        }

    def renewal(self) -> dict[str, Any]:
        """What `api_keys.rotate` takes."""
        expires = end_of_day(self.expires.data, field="expires")
        return {"name": self.name.data, "expires": expires, "after": self.newest.data}


def new_key_form(newest: str = "", name: str = "") -> KeyForm:
    """For a year; `newest` is the id of the latest key when the page is rendered."""
    year = f"{datetime.now(formats.zone()) + timedelta(days=365):%Y-%m-%d}"
    return KeyForm(formdata=None, expires=year, newest=newest, name=name)
