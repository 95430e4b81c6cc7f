"""Device API keys."""

import logging
from datetime import timedelta

import pytest

from portal.access.actors import Actor, operator
from portal.devices import api_keys, devices, key_authentication, key_format
from portal.errors import BadValue, Missing, NotAllowed, NotSignedIn
from portal.models import ApiKey, Audit, Device, now
from portal.settings import Settings

pytestmark = pytest.mark.usefixtures("site")


@pytest.fixture
def device() -> Device:
    return devices.add("importer-east", "importer", actor=operator())


@pytest.fixture
def issued(device: Device) -> api_keys.IssuedKey:
    return api_keys.issue(device, name="rollout", actor=operator())


def show(secret: str, address: str = "10.0.0.9", program: str = "importer/2.0") -> Actor:
    return key_authentication.authenticate(secret, address=address, program=program)


def test_a_key_has_57_characters_no_colon_and_begins_with_its_id(issued: api_keys.IssuedKey) -> None:
    assert len(issued.secret) == key_format.KEY_LENGTH == 57
    assert issued.secret.isascii()
    assert issued.secret.replace("_", "").isalnum()
    assert issued.secret.startswith(issued.key_id)
    assert issued.key_id.startswith("ptk_")


def test_a_thousand_secrets_differ_in_every_place_and_fit_their_check_digits() -> None:
    secrets = [key_format.generate()[1] for _ in range(1000)]
    random = [secret[10:51] for secret in secrets]
    assert len(set(secrets)) == 1000
    assert all(len({text[place] for text in random}) == 62 for place in range(41))


def test_whoever_shows_the_key_is_the_device_with_admin_level_access(
    device: Device, issued: api_keys.IssuedKey
) -> None:
    actor = show(issued.secret)
    assert (actor.type, actor.id, actor.name) == ("device", str(device.id), "importer-east")
    assert (actor.via, actor.address, actor.is_admin) == (issued.key_id, "10.0.0.9", True)


def test_neither_the_database_nor_the_log_holds_the_secret(
    issued: api_keys.IssuedKey, site: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    show(issued.secret)
    with pytest.raises(NotSignedIn):
        show(issued.secret[:-1] + ("x" if issued.secret[-1] != "x" else "y"))
    random = issued.secret[10:51]
    stored = b"".join(path.read_bytes() for path in site.data.glob("portal.db*"))
    assert random.encode() not in stored
    assert random not in caplog.text


@pytest.mark.parametrize(
    "secret", ["", "x", "a" * 57, "a" * 56, "é" * 57, "ptk_" + "0" * 53, "\0" * 57, "' OR 1=1 --", "x" * 1_000_000]
)
def test_what_is_no_key_is_refused(issued: api_keys.IssuedKey, secret: str) -> None:
    with pytest.raises(NotSignedIn, match="Invalid API key"):
        show(secret)


def test_each_changed_or_missing_character_is_seen(issued: api_keys.IssuedKey) -> None:
    whole = issued.secret
    for place in range(len(whole)):
        changed = whole[:place] + ("A" if whole[place] != "A" else "B") + whole[place + 1 :]
        for wrong in (changed, whole[:place] + whole[place + 1 :], whole + "A"):
            with pytest.raises(NotSignedIn):
                show(wrong)


def test_the_right_id_with_another_secret_is_refused_and_logged_by_id(
    issued: api_keys.IssuedKey, caplog: pytest.LogCaptureFixture
) -> None:
    body = issued.key_id + "A" * 41
    with pytest.raises(NotSignedIn, match="Invalid API key"):
        show(body + key_format._check_digits(body))
    assert f"key {issued.key_id} refused from 10.0.0.9" in caplog.text


def test_a_flood_of_wrong_keys_is_counted_in_the_log_rather_than_written(
    site: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(key_authentication, "_refusals", key_authentication._RefusalLog())
    monkeypatch.setattr(key_authentication.time, "monotonic", lambda: clock[0])
    for _ in range(1000):
        with pytest.raises(NotSignedIn):
            show("wrong")
    assert len(caplog.records) == key_authentication.MAX_REFUSALS_LOGGED
    clock[0] = 61.0
    with pytest.raises(NotSignedIn):
        show("wrong")
    assert "800 more keys were refused within a minute" in caplog.text


def test_a_revoked_key_is_refused_at_once_and_stays_revoked(device: Device, issued: api_keys.IssuedKey) -> None:
    api_keys.revoke(device, issued.key_id, actor=operator())
    at = ApiKey.get().revoked
    api_keys.revoke(device, issued.key_id, actor=operator())
    assert ApiKey.get().revoked == at
    with pytest.raises(NotSignedIn, match="revoked"):
        show(issued.secret)


def test_an_expired_key_is_refused(issued: api_keys.IssuedKey) -> None:
    ApiKey.update(expires=now() - timedelta(seconds=1)).execute()
    with pytest.raises(NotSignedIn, match="expired on"):
        show(issued.secret)


def test_a_disabled_device_is_refused_and_comes_back(device: Device, issued: api_keys.IssuedKey) -> None:
    devices.disable(device.id, actor=operator())
    with pytest.raises(NotSignedIn, match="disabled"):
        show(issued.secret)
    devices.enable(device.id, actor=operator())
    assert show(issued.secret).via == issued.key_id


def test_five_keys_may_live_and_a_sixth_after_one_is_revoked(device: Device) -> None:
    five = [api_keys.issue(device, name=f"key {number}", actor=operator()) for number in range(5)]
    with pytest.raises(BadValue, match="Revoke one first"):
        api_keys.issue(device, name="sixth", actor=operator())
    api_keys.revoke(device, five[0].key_id, actor=operator())
    api_keys.issue(device, name="sixth", actor=operator())
    assert api_keys.count_live(device) == 5


def test_an_expired_key_does_not_count_among_the_live(device: Device) -> None:
    for number in range(5):
        api_keys.issue(device, name=f"key {number}", actor=operator())
    ApiKey.update(expires=now() - timedelta(days=1)).where(ApiKey.name == "key 3").execute()
    api_keys.issue(device, name="sixth", actor=operator())


def test_a_key_lives_for_a_year_unless_told_otherwise(issued: api_keys.IssuedKey) -> None:
    assert timedelta(days=364) < issued.expires_at - now() <= timedelta(days=365)


@pytest.mark.parametrize("days", [-1, 0, 733, 36500])
def test_an_expiry_in_the_past_or_beyond_two_years_is_refused(device: Device, days: int) -> None:
    with pytest.raises(BadValue) as caught:
        api_keys.issue(device, name="k", expires=now() + timedelta(days=days), actor=operator())
    assert caught.value.field == "expires"
    assert ApiKey.select().count() == 0


def test_a_key_needs_a_name(device: Device) -> None:
    with pytest.raises(BadValue) as caught:
        api_keys.issue(device, name="  ", actor=operator())
    assert caught.value.field == "name"


def test_only_an_admin_issues_and_revokes(device: Device, issued: api_keys.IssuedKey) -> None:
    user = Actor(type="user", id="5")
    with pytest.raises(NotAllowed):
        api_keys.issue(device, name="k", actor=user)
    with pytest.raises(NotAllowed):
        api_keys.revoke(device, issued.key_id, actor=user)


def test_the_key_of_another_device_cannot_be_revoked(issued: api_keys.IssuedKey) -> None:
    other = devices.add("other", actor=operator())
    for key_id in (issued.key_id, "ptk_000000", "x" * 500):
        with pytest.raises(Missing):
            api_keys.revoke(other, key_id, actor=operator())


def test_the_log_of_acts_names_the_key_and_not_its_secret(device: Device, issued: api_keys.IssuedKey) -> None:
    api_keys.revoke(device, issued.key_id, actor=operator())
    acts = [(row.action, row.target_id) for row in Audit.select().where(Audit.target_type == "key")]
    assert acts == [("key:issued", issued.key_id), ("key:revoked", issued.key_id)]
    assert issued.secret not in str([row.detail for row in Audit.select()])


def test_the_use_of_a_key_is_written_down_once_a_minute(device: Device, issued: api_keys.IssuedKey) -> None:
    show(issued.secret, program="importer/2.0\r\nX: y" + "z" * 500)
    first = ApiKey.get()
    assert (first.last_address, len(first.last_program)) == ("10.0.0.9", 100)
    assert devices.get(device.id).last_seen == first.last_used
    show(issued.secret, address="10.0.0.10")
    assert ApiKey.get().last_used == first.last_used
    ApiKey.update(last_used=now() - timedelta(seconds=61)).execute()
    show(issued.secret, address="10.0.0.10")
    assert ApiKey.get().last_address == "10.0.0.10"


def test_a_narrowed_key_is_read_only(device: Device) -> None:
    issued = api_keys.issue(device, name="reader", read_only=True, actor=operator())
    assert show(issued.secret).read_only


def test_a_narrowed_key_holds_for_its_addresses_alone(device: Device) -> None:
    issued = api_keys.issue(device, name="ward", addresses=["10.0.0.0/24", "::1"], actor=operator())
    for address in ("10.0.0.9", "::1", "::ffff:10.0.0.9"):
        assert show(issued.secret, address=address).address == address
    for address in ("10.0.1.9", "::2", "", "nonsense"):
        with pytest.raises(NotSignedIn, match="may not be used from"):
            show(issued.secret, address=address)
    with pytest.raises(BadValue):
        api_keys.issue(device, name="bad", addresses=["10.0.0.300"], actor=operator())


def test_the_list_keeps_ended_keys_for_a_year(device: Device) -> None:
    names = ("live", "soon", "expired", "revoked", "long expired", "long revoked")
    moment = now()
    later = moment + timedelta(days=90)
    for name in names:
        ApiKey.create(key_id=name, owner_type="device", owner_id=device.id, name=name, hmac="-", expires=later)
    for name, changes in {
        "soon": {"expires": moment + timedelta(days=5)},
        "expired": {"expires": moment - timedelta(days=300)},
        "revoked": {"revoked": moment - timedelta(days=300)},
        "long expired": {"expires": moment - timedelta(days=400)},
        "long revoked": {"revoked": moment - timedelta(days=400)},
    }.items():
        ApiKey.update(changes).where(ApiKey.name == name).execute()
    states = {row.name: api_keys.state(row) for row in api_keys.for_owner(device)}
    assert states == {"revoked": "revoked", "expired": "expired", "soon": "expires soon", "live": "live"}
