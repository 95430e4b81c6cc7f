"""What is sent to stores by: a session that goes nowhere else."""

import pytest
from requests.exceptions import InvalidSchema

from portal.storage_drivers import http_session
from portal.storage_drivers.http import Timeouts


@pytest.mark.parametrize(("secure", "other"), [(True, "http://127.0.0.1:9/"), (False, "https://127.0.0.1:9/")])
def test_a_session_knows_https_or_http_and_not_both(secure: bool, other: str) -> None:
    with http_session.open_session("", Timeouts(connect=1, read=1), secure=secure) as session:
        assert len(session.adapters) == 1
        with pytest.raises(InvalidSchema):
            session.get(other)
