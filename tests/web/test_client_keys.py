"""What is pasted into programs: the site's address and a key in the form that each takes."""

import pytest

from portal.web import client_keys


@pytest.mark.parametrize(
    ("url", "fw_client", "sdk"),
    [
        ("https://portico.example/", "portico.example:K", "portico.example:K"),
        ("https://portico.example:8443/", "portico.example:8443:K", "portico.example:8443:K"),
        ("http://10.0.0.5:8080/", "http://10.0.0.5:8080:K", "10.0.0.5:8080:__force_insecure:K"),
        ("http://portico/", "http://portico:K", "portico:80:__force_insecure:K"),
    ],
)
def test_each_program_gets_the_address_in_its_own_form(url: str, fw_client: str, sdk: str) -> None:
    told = dict(client_keys.lines(url, "K"))
    assert (told["fw-client"], told["flywheel-sdk"]) == (fw_client, sdk)
    assert told["The command line"] == f"fw login {sdk}"
    assert told["curl and others"] == "Authorization: Bearer K"
