"""Errors of several values, collected so that a form shows all of them at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from portal.errors import BadValues, PortalError


class ErrorCollector:
    """Raises the collected errors at the end of its block: one as it is, several as BadValues.

    with ErrorCollector() as errors:
        with errors.kept():
            label = labels.clean(label)
        if not port:
            errors.add(BadValue("Enter a port.", field="port"))
    """

    def __init__(self) -> None:
        self._errors: list[PortalError] = []

    def add(self, error: PortalError) -> None:
        """Add an error, unless its field already has the same message."""
        for new in error.errors if isinstance(error, BadValues) else (error,):
            if (new.message, new.field) not in [(known.message, known.field) for known in self._errors]:
                self._errors.append(new)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Add a PortalError that is raised in the block."""
        try:
            yield
        except PortalError as error:
            self.add(error)

    def __enter__(self) -> "ErrorCollector":
        return self

    def __exit__(self, _kind: object, raised: BaseException | None, _traceback: object) -> None:
        if isinstance(raised, PortalError):
            self.add(raised)
        elif raised is not None:
            return
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise BadValues(self._errors) from raised
