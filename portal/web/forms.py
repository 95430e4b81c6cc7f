"""Forms: the domain says what is wrong, in words; here it is put beside the field that it belongs to."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    HiddenField,
    PasswordField,
    SelectChoice,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)

from portal import timestamps
from portal.errors import BadValue, BadValues, PortalError
from portal.web import formats

Result = TypeVar("Result")


class Form(FlaskForm):  # type: ignore[misc]
    """Values stay after an error; the focus goes to the first field that has one."""

    def attempt(self, act: Callable[[], Result]) -> Result | None:
        """What `act` returns, or None where nothing was sent or the domain refused it."""
        if not self.validate_on_submit():
            self._focus()
            return None
        try:
            return act()
        except PortalError as error:
            self.put(error)
            return None

    def put(self, error: PortalError) -> None:
        """Show what was refused beside its field, or above the form where it has none."""
        for one in error.errors if isinstance(error, BadValues) else (error,):
            self._put(one)
        self._focus()

    def _put(self, error: PortalError) -> None:
        if error.field and error.field in self._fields:
            field = self[error.field]
            field.errors = [*field.errors, error.message]
        else:
            self.form_errors.append(error.message)

    @property
    def status(self) -> int:
        """The HTTP code of the page that shows this form."""
        return 422 if self.errors else 200

    def _focus(self) -> None:
        for field in self:
            if field.errors:
                field.flags.focus = True
                return


def _stripped(value: Any) -> Any:
    return "" if value is None else str(value).strip()


def text(label: str, **kwargs: Any) -> Any:
    return StringField(label, filters=[_stripped], **kwargs)


def hidden() -> Any:
    """What the page knew when it was shown."""
    return HiddenField()


def lines(label: str, **kwargs: Any) -> Any:
    """Several values, one a line."""
    return TextAreaField(label, filters=[_stripped], **kwargs)


def split(typed: str) -> tuple[str, ...]:
    """The values of a field of lines."""
    return tuple(line.strip() for line in typed.splitlines() if line.strip())


def secret(label: str, **kwargs: Any) -> Any:
    return PasswordField(label, filters=[lambda value: value or ""], **kwargs)


class SecretLinesField(TextAreaField):  # type: ignore[misc]
    """Takes several lines that no page shows again."""


def secret_lines(label: str, **kwargs: Any) -> Any:
    return SecretLinesField(label, filters=[lambda value: value or ""], **kwargs)


def choice(label: str, pairs: Iterable[tuple[str, str]] = (), **kwargs: Any) -> Any:
    """One of a list of (value, words); the domain knows which values there are, and says so."""
    return SelectField(label, choices=select_choices(pairs), validate_choice=False, **kwargs)


def choices(label: str, pairs: Iterable[tuple[str, str]] = (), **kwargs: Any) -> Any:
    """Any number of a list, as boxes to tick."""
    return SelectMultipleField(label, choices=select_choices(pairs), validate_choice=False, **kwargs)


def select_choices(pairs: Iterable[tuple[str, str]]) -> list[Any]:
    """The choices of a field, where they are known only when the form is made."""
    return [SelectChoice(value=value, label=words) for value, words in pairs]


def checkbox(label: str, **kwargs: Any) -> Any:
    return BooleanField(label, **kwargs)


def day(value: str, *, field: str) -> datetime:
    """The last second of a day in the time zone of who typed it."""
    if not value:
        raise BadValue("Choose a day.", field=field)
    return timestamps.parse(f"{value}T23:59:59", field=field, zone=formats.zone())
