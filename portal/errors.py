"""One tree of errors; each carries a sentence for the person or the peer that reads it."""

from collections.abc import Sequence


class PortalError(Exception):
    """Something went wrong in a way that we can put in words.

    `str(error)` is one sentence that says what happened and what to do. `permanent` says that the same call
    would fail again unless somebody changes something, so that a job is not retried. `field` names the form
    field that the sentence belongs to, where there is one.
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
    """A value from outside does not fit; nothing was changed."""


class BadValues(BadValue):
    """Several values do not fit: each of `errors` has its sentence, and the field that it belongs to."""

    def __init__(self, errors: Sequence[PortalError]) -> None:
        super().__init__(" ".join(error.message for error in errors), field=errors[0].field)
        self.errors = tuple(errors)


class Missing(PortalError):
    """What was asked for does not exist, or the actor may not know that it does."""


class Taken(PortalError):
    """A name that must be unique is in use."""


class NotAllowed(PortalError):
    """The actor is known, but has no right to do this."""


class NotSignedIn(PortalError):
    """The caller has shown no credentials, or wrong ones."""


class NotDicom(BadValue):
    """The bytes are no DICOM data set that can be indexed (PS3.4 B.2.3: A900 or C000)."""


class BadIdentifier(BadValue):
    """A query or retrieve request whose identifier does not fit its SOP Class (PS3.4 C.4.1.1.4, C.4.2.1.5: A900)."""


class Conflicting(PortalError):
    """Other content under a SOP Instance UID that is already here, on a site that refuses it."""


class NoSpace(PortalError):
    """Less disk is free than the site keeps in reserve."""

    permanent = False


class Unreachable(PortalError):
    """A peer, a storage or a service of ours does not answer; trying again may help."""

    permanent = False


class Outage(Unreachable):
    """It is not there as a whole, whatever is asked of it: a job waits for a day for what is not `permanent`."""


class Damaged(PortalError):
    """Stored bytes are not those that were written."""


class Purged(Damaged):
    """Stored bytes were purged, and the database is older than that."""


class Busy(PortalError):
    """The thing is in use by a run that is not over."""

    permanent = False
