"""How many requests a minute the REST interface answers: of an address, with a key, and with wrong keys.

The counts are in Valkey, so that they hold for all processes (docs/decisions/0097).
"""

import math
import time
from pathlib import Path

from flask import g
from flask_limiter import RateLimitExceeded
from werkzeug.exceptions import TooManyRequests

from portal import runtime
from portal.web import sign_in

WRONG_KEYS = "60/minute"
WRONG_KEY_MESSAGE = "Too many invalid API keys from this address. Wait a minute; valid keys still work."
MAX_REMEMBERED = 10_000
"""Addresses with too many wrong keys that a process remembers."""

_throttled: dict[tuple[Path, str], float] = {}
"""Site and address → the time until which its wrong keys are refused without another question to Valkey."""


@sign_in.limiter.shared_limit(
    lambda: f"{runtime.current().requests_per_address}/minute",
    scope="requests of an address",
    error_message="This address has sent too many requests. Wait for the seconds that Retry-After gives.",
)
def count_request() -> None:
    """Count a request, whatever its size. Raises 429 beyond the limit."""


@sign_in.limiter.shared_limit(
    lambda: f"{runtime.current().requests_per_key}/minute",
    scope="requests with a key",
    key_func=lambda: g.actor.via,
    error_message="This API key has sent too many requests. Wait for the seconds that Retry-After gives.",
)
def count_request_of_key() -> None:
    """Count a request with the key of the actor. Raises 429 beyond the limit."""


def count_wrong_key() -> None:
    """Count a refused key of this address. Raises 429 beyond the limit; a valid key works all the same."""
    here, moment = (runtime.current().data, sign_in.client_address()), time.time()
    until = _throttled.get(here, 0.0)
    if moment < until:
        raise TooManyRequests(WRONG_KEY_MESSAGE, retry_after=math.ceil(until - moment))
    try:
        _count_wrong_key()
    except RateLimitExceeded:
        if len(_throttled) >= MAX_REMEMBERED:
            _throttled.clear()
        _throttled[here] = moment + sign_in.seconds_to_wait()
        raise


@sign_in.limiter.shared_limit(WRONG_KEYS, scope="refused keys", error_message=WRONG_KEY_MESSAGE)
def _count_wrong_key() -> None:
    pass
