"""The tree of errors; each has a message for the person or the peer that reads it."""

from collections.abc import Sequence


class PortalError(Exception):
    """The base of all errors that are shown to people.

    `message` says what happened and what to do. `permanent` means that the same call would fail again unless
    somebody changes something, so that a job is not retried. `field` names the form field that the message
    belongs to, if there is one.
    """

    permanent = True

    def __init__(self, message: str, *, field: str | None = None, permanent: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        if permanent is not None:
            self.permanent = permanent


class BadSetting(PortalError):
    """An environment variable has a value with which no process can start."""


class BadValue(PortalError):
    """A value from outside is invalid; nothing was changed."""


class BadValues(BadValue):
    """Several values are invalid: each of `errors` has a message and the field that it belongs to."""

    def __init__(self, errors: Sequence[PortalError]) -> None:
        super().__init__(" ".join(error.message for error in errors), field=errors[0].field)
        self.errors = tuple(errors)


class Missing(PortalError):
    """The thing does not exist, or the actor may not know that it does."""


class Taken(PortalError):
    """A name that must be unique is in use; `existing` is the REST id of what has it, where the actor may know it."""

    def __init__(self, message: str, *, field: str | None = None, existing: str = "") -> None:
        super().__init__(message, field=field)
        self.existing = existing


class NotAllowed(PortalError):
    """The actor is authenticated, but has no right to do this."""


class NotSignedIn(PortalError):
    """The caller sent no credentials, or invalid ones."""


class NotDicom(BadValue):
    """The bytes are not a DICOM data set that can be indexed (PS3.4 B.2.3: A900 or C000)."""


class TooManyAnswers(PortalError):
    """A query has more answers than the site allows; those so far were given."""


class BadIdentifier(BadValue):
    """A query or retrieve request whose identifier does not fit its SOP Class (PS3.4 C.4.1.1.4, C.4.2.1.5: A900)."""


class Conflicting(PortalError):
    """Different content under a SOP Instance UID that is already here, on a site that refuses it."""


class NoSpace(PortalError):
    """Less disk space is free than the site's reserve."""

    permanent = False


class Unreachable(PortalError):
    """A peer, a storage or a service of ours does not answer; a retry may help."""

    permanent = False


class Outage(Unreachable):
    """A whole service is down, whatever the request; unless it is `permanent`, a job waits for a day."""


class Damaged(PortalError):
    """Stored bytes are not those that were written."""


class Purged(Damaged):
    """Stored bytes were purged after this copy of the database was made."""


class Busy(PortalError):
    """The thing is in use by a run that has not ended."""

    permanent = False
