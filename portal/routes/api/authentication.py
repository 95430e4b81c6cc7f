"""Authentication of the REST interface: a device or a user by an API key, or, to read, a signed-in user."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Blueprint, current_app, g, request
from flask_login import current_user
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.wrappers import Response

from portal.access import rights
from portal.access.actors import Actor
from portal.devices import key_authentication, key_format
from portal.devices.device_usage import UsageCounter
from portal.errors import Missing, NotSignedIn
from portal.routes.api import problems, rate_limits
from portal.routes.api.noun import Noun
from portal.users import tickets
from portal.web import sign_in

View = TypeVar("View", bound=Callable[..., Any])

SCHEMES = ("bearer", "scitran-user")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def install(api: Blueprint) -> None:
    api.before_request(authenticate)


def refuse_again() -> Response | None:
    """The answer to one more wrong key from an address that has sent too many; None for every other request.

    It costs no database connection, so that a flood of wrong keys leaves the time to answer the right ones. A key that
    is newer than the remembered ones is told to wait, once.
    """
    if not request.path.startswith("/api/") or not (left := rate_limits.seconds_throttled()):
        return None
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    key_id = key_format.key_id_of(secret.strip())
    if scheme.lower() not in SCHEMES or not rate_limits.is_key_unknown(key_id):
        return None
    key_authentication.log_refusal(key_id, sign_in.client_address())
    refused = problems.answer(429, rate_limits.WRONG_KEY_MESSAGE)
    refused.headers["Retry-After"] = str(left)
    return refused


def usage_counter(uses: UsageCounter) -> Callable[[Response], Response]:
    """A handler that counts each response to a device, including errors and unknown addresses."""

    def count(response: Response) -> Response:
        caller: Actor | None = g.get("actor")
        if caller is not None and key_format.is_key_id(caller.via):
            uses.keys.count(caller.via, address=caller.address, program=request.user_agent.string)
        if caller is not None and caller.type == "device":
            failed = response.status_code >= 400
            uses.count(int(caller.id), failed=failed, size=0 if failed else request.content_length or 0)
        return response

    return count


def actor() -> Actor:
    """The actor of this request."""
    found: Actor = g.actor
    return found


def actor_now() -> Actor:
    """The same once more, after a long body: its access may have been taken since. Raises NotSignedIn."""
    return key_authentication.authenticate_again(actor())


def scope() -> rights.Scope:
    """What the actor of this request has access to, read once per request."""
    if "api_scope" not in g:
        g.api_scope = rights.scope(actor())
    found: rights.Scope = g.api_scope
    return found


def authenticate() -> None:
    """Set the actor of this request. Writing requires a key: a browser adds its cookie to a forged request."""
    rate_limits.count_request()
    header = request.headers.get("Authorization")
    if header is not None:
        g.actor = _by_key(header)
        rate_limits.count_request_of_key()
    elif request.args.get("ticket") and hasattr(_view(), "takes_ticket"):
        g.ticket = _by_ticket(request.args["ticket"])
        g.actor = g.ticket.actor
    elif request.method in SAFE_METHODS and current_user.is_authenticated:
        if current_user.user.must_change_password:
            raise NotSignedIn("Your password was generated. Choose your own on the pages of this site first.")
        g.actor = sign_in.current_actor()
    elif not _is_for_everybody():
        raise NotSignedIn("Send an API key in the header Authorization: Bearer KEY.")


def takes_ticket(view: View) -> View:
    """Mark a view to which a ticket lets whoever has it; the view calls `redeem`."""
    view.takes_ticket = True  # type: ignore[attr-defined]
    return view


def redeem(secret: str, kind: str) -> dict[str, Any]:
    """What a ticket is for. Raises Missing, also for the ticket of another actor than that of the key."""
    found = g.get("ticket") or tickets.redeem(secret, address=sign_in.client_address())
    if found.kind != kind or (found.actor.type, found.actor.id) != (actor().type, actor().id):
        raise Missing(tickets.INVALID)
    target: dict[str, Any] = found.target
    return target


def _by_ticket(secret: str) -> tickets.Redeemed:
    try:
        return tickets.redeem(secret, address=sign_in.client_address())
    except Missing as error:
        raise NotSignedIn(error.message) from error


def _view() -> Any:
    return current_app.view_functions.get(request.endpoint or "")


def _is_for_everybody() -> bool:
    endpoint, problem = request.endpoint, request.routing_exception
    if isinstance(problem, MethodNotAllowed) and problem.valid_methods:
        # Whether the address needs a key is known by what answers another method there.
        adapter: Any = current_app.create_url_adapter(request)
        endpoint = adapter.match(method=next(iter(problem.valid_methods)))[0]
    noun = current_app.blueprints.get((endpoint or "").rpartition(".")[0])
    return isinstance(noun, Noun) and noun.without_key


def _by_key(header: str) -> Actor:
    scheme, _, secret = header.partition(" ")
    try:
        if scheme.lower() not in SCHEMES:
            raise NotSignedIn("The header Authorization must have the form: Bearer KEY.")
        return key_authentication.authenticate(
            secret.strip(), address=sign_in.client_address(), program=request.user_agent.string
        )
    except NotSignedIn:
        rate_limits.count_wrong_key()
        raise
