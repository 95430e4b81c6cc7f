"""Forms and their fields. The domain validates; its errors are shown beside the field that they name."""

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
    """Keeps the values after an error, with the focus on the first field that has one."""

    def attempt(self, act: Callable[[], Result]) -> Result | None:
        """What `act` returns; None if the form is not valid or the domain refused it."""
        if not self.validate_on_submit():
            self._focus()
            return None
        try:
            return act()
        except PortalError as error:
            self.put(error)
            return None

    def put(self, error: PortalError) -> None:
        """Show an error beside the field that it names, or above the form."""
        for one in error.errors if isinstance(error, BadValues) else (error,):
            if one.field and one.field in self._fields:
                field = self[one.field]
                field.errors = [*field.errors, one.message]
            else:
                self.form_errors.append(one.message)
        self._focus()

    @property
    def status(self) -> int:
        """The HTTP status code of the page that shows this form."""
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
    """A value that the page had when it was rendered."""
    return HiddenField()


def lines(label: str, **kwargs: Any) -> Any:
    """Several values, one per line."""
    return TextAreaField(label, filters=[_stripped], **kwargs)


def split(typed: str) -> tuple[str, ...]:
    """The values of a `lines` field."""
    return tuple(line.strip() for line in typed.splitlines() if line.strip())


def secret(label: str, **kwargs: Any) -> Any:
    return PasswordField(label, filters=[lambda value: value or ""], **kwargs)


class SecretLinesField(TextAreaField):  # type: ignore[misc]
    """Several lines that no page shows again."""


def secret_lines(label: str, **kwargs: Any) -> Any:
    return SecretLinesField(label, filters=[lambda value: value or ""], **kwargs)


def choice(label: str, pairs: Iterable[tuple[str, str]] = (), **kwargs: Any) -> Any:
    """One of a list of (value, label). The domain validates the value."""
    return SelectField(label, choices=select_choices(pairs), validate_choice=False, **kwargs)


def choices(label: str, pairs: Iterable[tuple[str, str]] = (), **kwargs: Any) -> Any:
    """Any number of a list, as check boxes."""
    return SelectMultipleField(label, choices=select_choices(pairs), validate_choice=False, **kwargs)


def select_choices(pairs: Iterable[tuple[str, str]]) -> list[Any]:
    """Choices of a field that are known only when the form is created."""
    return [SelectChoice(value=value, label=words) for value, words in pairs]


def checkbox(label: str, **kwargs: Any) -> Any:
    return BooleanField(label, **kwargs)


def end_of_day(value: str, *, field: str) -> datetime:
    """The last second of a day in the time zone of the user."""
    if not value:
        raise BadValue("Choose a day.", field=field)
    return timestamps.parse(f"{value}T23:59:59", field=field, zone=formats.zone())
