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
from portal.devices import api_keys
from portal.web import sign_in

WRONG_KEYS = "60/minute"
WRONG_KEY_MESSAGE = "Too many invalid API keys from this address. Wait a minute; valid keys still work."
MAX_REMEMBERED = 10_000
"""Addresses with too many wrong keys that a process remembers."""
KEYS_REMEMBERED = 1.0
"""Seconds for which it remembers the ids of all keys meanwhile."""

_throttled: dict[tuple[Path, str], float] = {}
"""Site and address → the time until which its wrong keys are refused without another question to Valkey."""
_known: dict[Path, tuple[float, frozenset[str]]] = {}
"""Site → when the ids of its keys were read, and these."""


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


def seconds_throttled() -> int:
    """For how long this process answers 429 to wrong keys of this address, without asking Valkey; 0 if it does not."""
    left = _throttled.get((runtime.current().data, sign_in.client_address()), 0.0) - time.time()
    return max(0, math.ceil(left))


def is_key_unknown(key_id: str | None) -> bool:
    """Whether no key has this id, by a list that this process reads at most once in KEYS_REMEMBERED seconds."""
    if key_id is None:
        return True
    site = runtime.current().data
    read_at, ids = _known.get(site, (-math.inf, frozenset()))
    if key_id not in ids and time.monotonic() - read_at > KEYS_REMEMBERED:
        with runtime.connection():
            ids = api_keys.all_ids()
        _known[site] = (time.monotonic(), ids)
    return key_id not in ids


def count_wrong_key() -> None:
    """Count a refused key of this address. Raises 429 beyond the limit; a valid key works all the same."""
    here, moment = (runtime.current().data, sign_in.client_address()), time.time()
    if left := seconds_throttled():
        raise TooManyRequests(WRONG_KEY_MESSAGE, retry_after=left)
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
