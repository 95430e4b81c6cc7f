"""The decisions about requests, each made once as long as nothing in the database changes."""

import threading

from dimse_worker import association_policy
from dimse_worker.association_policy import AssociationGrant, AssociationRequest
from portal import models

MAX_DECISIONS = 64


class _Known(threading.local):
    """What the database's connection of this thread has said."""

    def __init__(self) -> None:
        self.version: tuple[int, int] | None = None
        self.grants: dict[AssociationRequest, AssociationGrant] = {}


_known = _Known()


def decide(request: AssociationRequest) -> AssociationGrant:
    """As `association_policy.decide`, with one statement where nobody has written since the same request.

    A refusal is never known, because each is recorded; nor is a certificate, because it expires, or a user identity,
    because nothing keeps a password.
    """
    if request.identity is not None or (request.secured is not None and request.secured.certificates):
        return association_policy.decide(request)
    version = models.version()
    if version != _known.version or len(_known.grants) >= MAX_DECISIONS:
        _known.version, _known.grants = version, {}
    grant = _known.grants.get(request)
    if grant is None:
        grant = association_policy.decide(request)
        if models.version() == version:
            _known.grants[request] = grant
    return grant
