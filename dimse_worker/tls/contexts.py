"""What we offer in a TLS handshake: versions, cipher suites, and the site's certificate."""

import logging

from OpenSSL import SSL

from portal import models
from portal.errors import Damaged
from portal.tls import site_certificate
from portal.tls.site_certificate import Pair

log = logging.getLogger(__name__)

CIPHER_SUITES = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, all with forward secrecy and AEAD (BCP 195, RFC 9325 4.2); all of TLS 1.3 are so."""
OPTIONS = (
    SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_ALL
)


class ServerContexts:
    """The context of the certificate that is installed now; for one thread, with its database connection."""

    def __init__(self) -> None:
        self._version: tuple[int, int] | None = None
        self._row: int | None = None
        self._context: SSL.Context | None = None

    def current(self) -> SSL.Context | None:
        """None while the site has no certificate, or not its key. One statement where nobody has written."""
        version = models.version()
        if version != self._version:
            try:
                pair = site_certificate.current()
            except Damaged as error:
                log.error("no TLS: %s", error.message)
                pair = None
            row = pair.row if pair else None
            if row != self._row:
                self._row, self._context = row, context(pair)
            self._version = version
        return self._context if self._row is not None else None


def context(pair: Pair | None) -> SSL.Context:
    """For TLS 1.2 and 1.3, with a certificate of ours if there is one.

    The other side is asked for its certificate, and any one is accepted, so that an association can be refused in
    words, for each peer by its own issuers; the handshake proves that the other side has the key. Nothing is resumed:
    each association shows its certificate (docs/decisions/0118).
    """
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_min_proto_version(SSL.TLS1_2_VERSION)
    made.set_cipher_list(CIPHER_SUITES)
    made.set_options(OPTIONS)
    made.set_mode(SSL.MODE_RELEASE_BUFFERS)  # a connection that waits has no buffers
    made.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    made.set_verify(SSL.VERIFY_PEER, lambda _connection, _certificate, _code, _depth, _holds: True)
    if pair is not None:
        leaf, *issuers = pair.chain
        made.use_certificate(leaf)
        for issuer in issuers:
            made.add_extra_chain_cert(issuer)
        made.use_privatekey(pair.key)
    return made
