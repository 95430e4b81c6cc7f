"""Behind a proxy: whose word on the browser's address and scheme is taken."""

from ipaddress import ip_network

import pytest

from portal import settings
from portal.errors import BadSetting
from portal.web.proxy_headers import ProxyHeaders

PROXY = "127.0.0.1"


def seen(sender: str, trusted: str = PROXY, **headers: str) -> tuple[str, str]:
    """Address and scheme that the application sees of a request which `sender` brings."""
    found = {}

    def application(environ, start_response):  # type: ignore[no-untyped-def]
        found.update(environ)
        return []

    networks = tuple(ip_network(part) for part in trusted.split(",") if part)
    asked = {"REMOTE_ADDR": sender, "wsgi.url_scheme": "http", "HTTP_HOST": "portico.example", **headers}
    ProxyHeaders(application, networks)(asked, lambda *_: lambda _: None)
    assert not any("FORWARDED" in name for name in found)
    assert found["HTTP_HOST"] == "portico.example"
    return found["REMOTE_ADDR"], found["wsgi.url_scheme"]


def test_nobody_is_believed_unless_the_site_names_a_proxy() -> None:
    assert seen(PROXY, "", HTTP_X_FORWARDED_FOR="203.0.113.9", HTTP_X_FORWARDED_PROTO="https") == (PROXY, "http")


def test_a_named_proxy_says_who_asks_and_over_what() -> None:
    assert seen(PROXY, HTTP_X_FORWARDED_FOR="203.0.113.9", HTTP_X_FORWARDED_PROTO="https") == ("203.0.113.9", "https")
    assert seen(PROXY, HTTP_X_FORWARDED_FOR="2001:db8::9") == ("2001:db8::9", "http")


def test_somebody_else_says_nothing() -> None:
    forged = {"HTTP_X_FORWARDED_FOR": "203.0.113.9", "HTTP_X_FORWARDED_PROTO": "https", "HTTP_FORWARDED": "for=1.2.3.4"}
    assert seen("198.51.100.7", **forged) == ("198.51.100.7", "http")


def test_what_a_browser_wrote_before_the_proxy_is_not_taken() -> None:
    assert seen(PROXY, HTTP_X_FORWARDED_FOR="10.9.9.9, 203.0.113.9")[0] == "203.0.113.9"
    assert seen(PROXY, HTTP_X_FORWARDED_FOR="10.9.9.9, junk")[0] == PROXY
    assert seen(PROXY, HTTP_X_FORWARDED_PROTO="javascript")[1] == "http"


def test_a_chain_of_named_proxies_is_followed_to_its_end() -> None:
    assert seen(PROXY, "127.0.0.1,10.0.0.0/24", HTTP_X_FORWARDED_FOR="203.0.113.9, 10.0.0.4")[0] == "203.0.113.9"
    assert seen("::ffff:127.0.0.1", HTTP_X_FORWARDED_FOR="203.0.113.9")[0] == "203.0.113.9"


def test_what_is_no_network_is_refused_by_name() -> None:
    with pytest.raises(BadSetting, match="PORTAL_TRUSTED_PROXIES"):
        settings.load(environ={"PORTAL_TRUSTED_PROXIES": "proxy.example"})
    with pytest.raises(BadSetting, match="PORTAL_TRUSTED_PROXIES"):
        settings.load(environ={"PORTAL_TRUSTED_PROXIES": "10.0.0.7/24"})


def test_the_site_reads_the_list(site: settings.Settings) -> None:
    chosen = settings.load(site.data, {"PORTAL_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/24"})
    assert [str(one) for one in chosen.trusted_proxies] == ["127.0.0.1/32", "10.0.0.0/24"]
    assert settings.load(site.data, {}).trusted_proxies == ()
