"""Refusals: what is wrong with several values, gathered, so that all of it is said at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from portal.errors import BadValues, PortalError


class ErrorCollector:
    """Raises at the end of its block what was added, or what was raised in it: one error as it is, more as BadValues.

    with Refusals() as refusals:
        with refusals.kept():
            label = labels.clean(label)
        if not port:
            refusals.add(BadValue("Enter a port.", field="port"))
    """

    def __init__(self) -> None:
        self._found: list[PortalError] = []

    def add(self, error: PortalError) -> None:
        """One more; what was said beside its field already is not said again."""
        for one in error.errors if isinstance(error, BadValues) else (error,):
            if (one.message, one.field) not in [(known.message, known.field) for known in self._found]:
                self._found.append(one)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is raised within is added."""
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
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            raise BadValues(self._found) from raised
