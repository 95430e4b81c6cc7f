"""An upload whose sender loses its access while the bytes come is refused whole."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from portal.access.actors import operator
from portal.devices import api_keys, devices
from portal.ingest.received import MAX_BYTES_IN_MEMORY
from portal.models import Device, File, Subject, User
from portal.settings import Settings
from portal.users import grants, users
from tests.fixtures.api import PATIENCE, Api, assert_refused

TAKE: dict[str, tuple[Callable[[User], object], int]] = {
    "grant removed": (lambda user: grants.remove(user.id, grants.for_user(user.id)[0].id, actor=operator()), 404),
    "grant to read": (lambda user: grants.add(user.id, "imaging/CT trial", "ro", actor=operator()), 403),
    "user disabled": (lambda user: users.disable(user.id, actor=operator()), 401),
    "key revoked": (lambda user: revoke(user), 401),
}
BODY_TYPE = {"Content-Type": "multipart/form-data; boundary=bnd"}


def revoke(user: User) -> None:
    [key] = api_keys.for_owner(user)
    api_keys.revoke(user, key.key_id, actor=operator())


@pytest.fixture
def acquisition(api: Api) -> str:
    return api.acquisition()


@pytest.fixture
def user(acquisition: str) -> User:
    user, _ = users.add("ann@site.example", "correct horse battery", actor=operator())
    grants.add(user.id, "imaging/CT trial", "rw", actor=operator())
    return user


@pytest.fixture
def body(site_settings: Settings) -> Callable[[Callable[[], object]], Iterator[bytes]]:
    """A form whose last bytes are sent once the server streams the others to the disk and something has happened."""

    def parts(happen: Callable[[], object]) -> Iterator[bytes]:
        before = set(site_settings.archive.glob("*.seg"))
        said = {"group": {"_id": "imaging"}, "project": {"label": "CT trial"}}
        said["session"] = {"label": "new", "subject": {"label": "new"}}  # type: ignore[dict-item]
        said["acquisition"] = {"label": "new"}
        yield b'--bnd\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n' + json.dumps(said).encode()
        yield b'\r\n--bnd\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\n\r\n'
        for _ in range(17):
            yield bytes(1 << 20)
        give_up = time.monotonic() + PATIENCE
        while set(site_settings.archive.glob("*.seg")) <= before and time.monotonic() < give_up:
            time.sleep(0.01)
        happen()
        yield b"the end\r\n--bnd--\r\n"

    return parts


@pytest.mark.parametrize("way", ["container", "label"])
@pytest.mark.parametrize("taken", TAKE)
def test_what_a_person_sends_who_loses_access_meanwhile_is_refused(
    api: Api,
    acquisition: str,
    user: User,
    body: Callable[[Callable[[], object]], Iterator[bytes]],
    taken: str,
    way: str,
    site_settings: Settings,
) -> None:
    key = api_keys.issue(user, name="own", actor=users.actor(user, "127.0.0.1"))
    path = f"/api/acquisitions/{acquisition}/files" if way == "container" else "/api/upload/label"
    take, status = TAKE[taken]
    before = set(site_settings.archive.glob("*.seg"))
    answer = Api(api.url, key.secret).post(path, data=body(lambda: take(user)), headers=BODY_TYPE)
    assert answer.status_code in ({status, 403, 404} if way == "label" and status != 401 else {status}), answer.text
    assert_refused(answer, answer.status_code)
    assert (File.select().count(), Subject.select().count()) == (0, 1)
    assert set(site_settings.archive.glob("*.seg")) == before


def test_what_a_removed_device_sends_is_refused_and_what_a_kept_one_sends_is_stored(
    api: Api, acquisition: str, device: Device, body: Callable[[Callable[[], object]], Iterator[bytes]]
) -> None:
    path = f"/api/acquisitions/{acquisition}/files"
    assert api.post(path, data=body(lambda: None), headers=BODY_TYPE).status_code == 200
    assert File.get().blob.size > MAX_BYTES_IN_MEMORY
    answer = api.post(path, data=body(lambda: devices.remove(device.id, actor=operator())), headers=BODY_TYPE)
    assert_refused(answer, 401, "was removed")
    assert File.get().version == 1
