from datetime import timedelta
from pathlib import Path

import pytest

from portal import site_settings
from portal.dashboard import alerts
from portal.models import Audit, SiteCertificate, now
from portal.peers import peers
from portal.tls import certificates, site_certificate
from tests.fixtures.cli import Portal
from tests.fixtures.tls.certificates import authority, self_signed
from tests.fixtures.web import Visitor, refusal, text_of


def test_a_certificate_is_created_by_one_click_and_downloaded_with_its_request(visitor: Visitor) -> None:
    assert "None yet" in text_of(visitor.get("/settings/tls").text)
    assert visitor.get("/settings/tls/request.csr").status_code == 404
    answer = visitor.post("/settings/tls/create", {"host": "portico.example"}, follow_redirects=True)
    assert "A self-signed certificate for portico.example is in use" in text_of(answer.text)
    assert "itself (self-signed)" in answer.text
    assert certificates.read_all(visitor.get("/settings/tls/certificate.pem").text, field="")
    assert "BEGIN CERTIFICATE REQUEST" in visitor.get("/settings/tls/request.csr").text
    refusal(visitor.post("/settings/tls/create", {"host": "two words"}), "is not a host name or an IP address")


def test_an_installed_key_is_on_no_page_also_after_an_error(visitor: Visitor) -> None:
    own, other = authority().issue("portico", "portico.example"), self_signed("other")
    pasted = {"chain": other.pem, "key": own.key_pem}
    answer = visitor.post("/settings/tls/install", pasted)
    refusal(answer, "The first certificate does not belong to the private key.")
    assert "BEGIN PRIVATE KEY" not in answer.text
    answer = visitor.post("/settings/tls/install", {"chain": own.chain, "key": own.key_pem}, follow_redirects=True)
    assert "The certificate is in use from the next association on." in answer.text
    assert "Hospital CA" in text_of(answer.text)
    assert "BEGIN PRIVATE KEY" not in answer.text
    assert "PRIVATE" not in "".join(str(row.detail) for row in Audit.select())


def test_the_tls_port_is_set_once_there_is_a_certificate(visitor: Visitor) -> None:
    form = {"ae_title": "PORTICO", "host": "127.0.0.1", "port": "11112", "tls_port": "2762"}
    refusal(visitor.post("/settings/dimse", form), "TLS needs a certificate of the site.")
    visitor.post("/settings/tls/create", {"host": "portico.example"})
    answer = visitor.post("/settings/dimse", form, follow_redirects=True)
    assert "TLS port: from none to 2762" in text_of(answer.text)
    assert site_settings.get("dimse.tls_port") == 2762


def test_the_certificates_of_a_peer_are_pasted_kept_and_shown_with_their_expiry(visitor: Visitor, dimse: None) -> None:
    ca, own = authority(), self_signed("scanner", days=5)
    form = {"label": "CT", "ae_title": "CT", "services": "echo", "sees": "none", "tls": "y", "tls_any_name": "y"}
    answer = visitor.post("/interfaces/peers/new", {**form, "issuers": "rubbish"})
    refusal(answer, "no certificate in PEM form")
    answer = visitor.post(
        "/interfaces/peers/new", {**form, "issuers": ca.pem, "pinned": own.pem}, follow_redirects=True
    )
    page = text_of(answer.text)
    assert "yes: neither answered nor called in clear text" in page
    assert "scanner , Expires soon in 4 days" in page
    assert "Hospital CA, expires in 364 days" in page.replace(" ,", ",")
    assert "Not checked" in page
    peer = peers.get("CT")
    assert "BEGIN CERTIFICATE" in visitor.get(f"/interfaces/peers/{peer.id}/edit").text
    visitor.post(f"/interfaces/peers/{peer.id}/edit", {**form, "issuers": "", "pinned": own.pem})
    assert (peers.get("CT").issuers, peers.get("CT").pinned) == ("", own.pem)


@pytest.mark.parametrize(
    ("days", "said", "urgent"), [(31, "", False), (29, "expires", False), (3, "expires", True), (-1, "expired", True)]
)
def test_an_alert_says_that_the_certificate_ends(visitor: Visitor, days: int, said: str, urgent: bool) -> None:
    visitor.post("/settings/tls/create", {"host": "portico.example"})
    SiteCertificate.update(expires=now() + timedelta(days=days)).execute()
    found = [alert for alert in alerts.list_all() if alert.kind == "certificate"]
    assert [(alert.message, alert.urgent) for alert in found] == (
        [(f"The TLS certificate {said}", urgent)] if said else []
    )
    assert ("The TLS certificate" in text_of(visitor.get("/").text)) is bool(said)


def test_the_command_line_sets_up_tls_and_a_peer(portal: Portal, tmp_path: Path) -> None:
    ca = authority()
    own = ca.issue("portico", "portico.example")
    chain, key = own.files(tmp_path, "portico")
    (tmp_path / "ca.pem").write_text(ca.pem)
    assert portal("dimse", "certificate").out == "The site has no certificate yet.\n"
    assert portal("dimse", "create-certificate", "10.0.0.7").code == 0
    assert "-----BEGIN CERTIFICATE REQUEST-----\n" in portal("dimse", "request-certificate").out
    assert portal("dimse", "install-certificate", str(chain), "--key", str(key)).code == 0
    assert portal("dimse", "certificate", "--json").view["issuer"] == "Hospital CA"
    assert "with TLS on port 2762" in portal("dimse", "enable", "--tls-port", "2762").out
    assert portal("peer", "add", "CT", "--ae-title", "CT", "--tls", "--ca", str(tmp_path / "ca.pem")).code == 0
    view = portal("peer", "edit", "CT", "--no-tls", "--certificate-name", "ct.example", "--any-name", "--json").view
    assert (view["tls"], view["tls_name"], view["tls_any_name"]) == (False, "ct.example", True)
    assert view["issuers"][0]["subject"] == "Hospital CA"
    assert portal("peer", "edit", "CT", "--ca", "none", "--json").view["issuers"] == []
    assert site_certificate.view() is not None
