import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from portal import models, runtime
from portal import site_settings as options
from portal.access.actors import operator
from portal.errors import BadValue, Damaged, Missing, Taken
from portal.models import Secret, SiteCertificate
from portal.settings import Settings
from portal.tls import certificates, chains, site_certificate
from tests.fixtures.tls.certificates import authority, self_signed

pytestmark = pytest.mark.usefixtures("site")


def refusal(chain: str, key: str = "") -> str:
    with pytest.raises(BadValue) as refused:
        site_certificate.install(chain, key, actor=operator())
    return refused.value.message


def test_a_self_signed_certificate_is_created_and_its_key_is_sealed(site: Settings) -> None:
    assert site_certificate.view() is None
    site_certificate.create("portico.hospital.example", actor=operator())
    view = site_certificate.view()
    assert view is not None
    assert (view["subject"], view["names"], view["self_signed"]) == (
        "portico.hospital.example",
        ["portico.hospital.example"],
        True,
    )
    assert view["expires"] > models.now() + timedelta(days=800)
    assert b"PRIVATE KEY" not in site.database.read_bytes()
    assert "PRIVATE KEY" not in repr(site_certificate.current())


def test_a_request_is_signed_by_a_ca_and_installed_without_the_key() -> None:
    with pytest.raises(Missing):
        site_certificate.signing_request()
    site_certificate.create("10.0.0.7", actor=operator())
    request = x509.load_pem_x509_csr(site_certificate.signing_request().encode())
    assert request.is_signature_valid
    pair = site_certificate.current()
    assert pair is not None
    ca = authority()
    signed = ca.issue("portico", "10.0.0.7")
    builder = x509.CertificateBuilder(
        ca.certificate.subject,
        request.subject,
        request.public_key(),
        x509.random_serial_number(),
        models.now(),
        signed.certificate.not_valid_after_utc,
    )
    issued = builder.sign(ca.key, request.signature_hash_algorithm)
    site_certificate.install(certificates.pem_of([issued, ca.certificate]), actor=operator())
    installed = site_certificate.current()
    assert installed is not None
    assert installed.key.private_numbers() == pair.key.private_numbers()
    assert installed.chain == (issued, ca.certificate)


def test_what_does_not_fit_is_refused_and_the_pair_stays() -> None:
    own, other = self_signed("portico"), self_signed("other")
    assert refusal(own.pem) == "Enter the private key too: the site has none yet."
    site_certificate.install(own.pem, own.key_pem, actor=operator())
    assert refusal(other.pem, own.key_pem) == "The first certificate does not belong to the private key."
    assert refusal(other.pem) == "The first certificate does not belong to the current private key."
    assert refusal("", own.key_pem) == "Enter the certificate in PEM form."
    assert "no private key in PEM form" in refusal(other.pem, "-----BEGIN PRIVATE KEY-----")
    late = self_signed("late", days=-1)
    assert "The certificate expired on " in refusal(late.pem, late.key_pem)
    assert "at most 65,536" in refusal("x" * 70_000, own.key_pem)
    pair = site_certificate.current()
    assert pair is not None
    assert pair.chain == (own.certificate,)
    assert (SiteCertificate.select().count(), Secret.select().count()) == (1, 1)


def test_readers_see_a_whole_pair_while_others_are_installed() -> None:
    pairs = [self_signed(f"portico {number}") for number in range(2)]
    site_certificate.install(pairs[0].pem, pairs[0].key_pem, actor=operator())
    over = threading.Event()

    def install() -> None:
        with runtime.connection():
            for number in range(20):
                one = pairs[number % 2]
                site_certificate.install(one.pem, one.key_pem, actor=operator())
        over.set()

    installing = threading.Thread(target=install)
    installing.start()
    read = 0
    while not over.is_set() or not read:
        with models.database.atomic("DEFERRED"):
            pair = site_certificate.current()
        assert pair is not None
        assert pair.chain[0].public_key() == pair.key.public_key()
        read += 1
    installing.join()


def test_with_a_lost_site_key_the_certificate_says_what_to_do() -> None:
    own = self_signed("portico")
    site_certificate.install(own.pem, own.key_pem, actor=operator())
    Secret.delete().execute()
    with pytest.raises(Damaged, match="Install a certificate with its key again"):
        site_certificate.current()


def test_a_tls_port_needs_a_certificate_and_another_number_than_clear_text() -> None:
    with pytest.raises(BadValue, match="needs a certificate") as refused:
        options.change({"dimse.tls_port": 2762}, actor=operator())
    assert refused.value.field == "tls_port"
    site_certificate.create("portico", actor=operator())
    with pytest.raises(Taken, match="a port of its own"):
        options.change({"dimse.tls_port": options.get("dimse.port")}, actor=operator())
    options.change({"dimse.tls_port": "2762"}, actor=operator())
    assert options.get("dimse.tls_port") == 2762
    options.change({"dimse.tls_port": ""}, actor=operator())
    assert options.get("dimse.tls_port") == 0


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("viewer.hospital.example", True),
        ("VIEWER.hospital.example.", True),
        ("one.wards.example", True),
        ("10.0.0.7", True),
        ("wards.example", False),
        ("a.one.wards.example", False),
        ("hospital.example", False),
        ("10.0.0.8", False),
        ("common", False),
    ],
)
def test_names_of_a_certificate_fit_as_rfc_9525_says(name: str, fits: bool) -> None:
    issued = self_signed("common", "viewer.hospital.example", "*.wards.example", "10.0.0.7")
    assert chains.has_name(issued.certificate, name) is fits
    assert chains.has_name(self_signed("common").certificate, "common")


def test_an_intermediate_ca_vouches_only_for_what_it_has_issued(tmp_path: Path) -> None:
    root = authority("Root")
    one, other = root.issue("One", is_authority=True), root.issue("Other", is_authority=True)
    leaf = one.issue("scanner")
    chains.verify([leaf.certificate, *leaf.above], [one.certificate], use=chains.CLIENT)
    chains.verify([leaf.certificate, *leaf.above], [root.certificate], use=chains.CLIENT)
    with pytest.raises(chains.NotTrusted, match="was issued by"):
        chains.verify([leaf.certificate, *leaf.above], [other.certificate], use=chains.CLIENT)


INSTALLING = """
import sys
from portal import runtime, settings
from portal.access.actors import operator
from portal.tls import site_certificate
runtime.start(settings.load())
with runtime.connection():
    while True:
        site_certificate.create("portico", actor=operator())
        print(flush=True)
"""


def test_there_is_one_whole_pair_after_each_kill(site: Settings) -> None:
    site_certificate.create("portico", actor=operator())
    for installed in (1, 4, 7):
        environ = {**os.environ, "PORTAL_DATA": str(site.data), "PORTAL_MIN_FREE": "1"}
        with subprocess.Popen([sys.executable, "-c", INSTALLING], env=environ, stdout=subprocess.PIPE) as installing:
            assert installing.stdout is not None
            for _ in range(installed):
                installing.stdout.readline()
            installing.kill()
        pair = site_certificate.current()
        assert pair is not None
        assert pair.chain[0].public_key() == pair.key.public_key()
        assert (SiteCertificate.select().count(), Secret.select().count()) == (1, 1)
