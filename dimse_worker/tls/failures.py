"""Why TLS failed, in words: what comes after the name of the other side."""

from OpenSSL import SSL

_WORDS = (
    (("unknown ca",), "refuses our certificate, because it does not know its issuer"),
    (("certificate expired",), "refuses our certificate, because it has expired"),
    (
        ("certificate required", "peer did not return a certificate"),
        "requires a certificate of ours, and there is none",
    ),
    (
        ("bad certificate", "certificate unknown", "unsupported certificate", "certificate revoked", "access denied"),
        "refuses our certificate",
    ),
    (("unsupported protocol", "protocol version", "version too low"), "speaks no TLS version from 1.2 on"),
    (
        ("no shared cipher", "handshake failure", "insufficient security", "no suitable", "no shared group"),
        "speaks TLS, but none of the secure cipher suites",
    ),
    (
        ("wrong version number", "http request", "packet length too long", "record layer failure", "https proxy"),
        "does not speak TLS",
    ),
    (("too small", "too weak", "md too weak"), "has a certificate with a weak key or signature"),
)
"""Parts of OpenSSL's reasons, in the order in which they are looked for."""


class HandshakeFailed(Exception):
    """The handshake failed; the message is what comes after the name of the other side."""


def is_lost_connection(error: SSL.Error) -> bool:
    """Whether the connection broke, so that TLS was not the reason."""
    return isinstance(error, SSL.SysCallError) or _reasons(error) in ("", "unexpected eof while reading")


def explain(error: SSL.Error) -> str:
    """What went wrong, from OpenSSL's reason or the alert that the other side sent."""
    if is_lost_connection(error):
        return "closed the connection during the TLS handshake"
    reasons = _reasons(error)
    for parts, words in _WORDS:
        if any(part in reasons for part in parts):
            return words
    return f"broke the rules of TLS ({reasons[:80]})"


def _reasons(error: SSL.Error) -> str:
    listed = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return " ".join(str(part[-1]) for part in listed).strip().lower()
