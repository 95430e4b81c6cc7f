"""The forms in which the programs of this field take the address of a site together with a key."""

from urllib.parse import urlsplit


def lines(url: str, secret: str) -> tuple[tuple[str, str], ...]:
    """For each program, what is pasted into it: (program, text). `url` is the site's address as the browser has it."""
    site = urlsplit(url)
    is_secure = site.scheme == "https"
    fw_client = f"{site.netloc}:{secret}" if is_secure else f"http://{site.netloc}:{secret}"
    # The SDK takes no scheme, and takes 443 for granted even where it is told to speak http.
    port = "" if is_secure or site.port else ":80"
    sdk = f"{site.netloc}{port}:{secret}" if is_secure else f"{site.netloc}{port}:__force_insecure:{secret}"
    return (
        ("curl and others", f"Authorization: Bearer {secret}"),
        ("fw-client", fw_client),
        ("flywheel-sdk", sdk),
        ("The command line", f"fw login {sdk}"),
    )
