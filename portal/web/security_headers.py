"""Security headers of every response: what a page may load, and that no browser or proxy caches it."""

from urllib.parse import quote

from flask import Flask, request
from werkzeug.wrappers import Response

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",  # Tabler has its arrows and ticks as data: images
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_UNQUOTED = "!#$&+-.^_`|~"
"""Characters that an extended parameter value may contain unquoted (RFC 5987, attr-char)."""
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # no-referrer would turn each form sent over HTTPS into 400
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def install(app: Flask, *, secure: bool) -> None:
    @app.after_request
    def add(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if secure:
            response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        if request.endpoint != "static":
            response.headers.setdefault("Cache-Control", "no-store")
            response.vary.add("HX-Request")
        return response


def attachment(name: str) -> str:
    """A Content-Disposition that saves under this name: in ASCII for old clients, then in UTF-8 (RFC 6266 5)."""
    plain = "".join(sign if " " <= sign <= "~" and sign not in '"%\\' else "_" for sign in name)
    whole = quote(name.encode(errors="replace"), safe=_UNQUOTED)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"
