"""flywheel-sdk, unmodified, with the key of a device and with that of a user: its start, devices and DIMSE."""

from typing import Any

import flywheel
import pytest
from flywheel.flywheel import SDK_VERSION
from flywheel.rest import ApiException

from tests.fixtures.clients import Caller, Tree, close, refused
from tests.fixtures.stores import Answer, Front

pytestmark = pytest.mark.xdist_group("clients")


def test_who_calls(sdk: flywheel.Client, caller: Caller) -> None:
    status = sdk.get_auth_status()
    assert (status.is_device, status.user_is_admin) == (caller.is_device, True)
    assert status.origin.type == caller.kind


def test_the_release_is_that_of_the_sdk(sdk: flywheel.Client) -> None:
    assert sdk.get_version().flywheel_release == SDK_VERSION


def test_the_configuration(sdk: flywheel.Client, caller: Caller) -> None:
    config = sdk.get_config()
    assert config.site.api_url == f"{caller.url}/api"
    assert config.signed_url is False


def test_a_wrong_key(caller: Caller) -> None:
    wrong = caller.sdk_key[:-1] + ("A" if caller.sdk_key[-1] != "A" else "B")
    client = flywheel.Client(wrong, disable_auth_check=True)
    with pytest.raises(ApiException) as caught:
        client.get_auth_status()
    assert "key" in refused(caught, 401)
    close(client)


def test_a_user_sees_itself_and_a_device_is_none(sdk: flywheel.Client, caller: Caller) -> None:
    if caller.is_device:
        with pytest.raises(ApiException) as caught:
            sdk.get_current_user()
        assert "device" in refused(caught, 400)
    else:
        user = sdk.get_current_user()
        assert (user.email, user.root) == ("admin@site.example", True)
        assert user.firstname


def test_a_device_sees_itself_and_a_user_is_none(sdk: flywheel.Client, caller: Caller) -> None:
    if caller.is_device:
        assert sdk.get_current_device().label == "importer-east"
    else:
        with pytest.raises(ApiException) as caught:
            sdk.get_current_device()
        refused(caught, 403)


def test_a_busy_site_is_asked_again(caller: Caller) -> None:
    front = Front(caller.url)
    front.rule = lambda request: Answer(503, b'{"message": "Busy."}') if request.number < 3 else None
    try:
        key = caller.sdk_key.replace(caller.url.rpartition(":")[2], str(front.port), 1)
        client = flywheel.Client(key)
        assert client.get_auth_status().is_device is caller.is_device
        close(client)
    finally:
        front.close()
    assert len(front.seen) == 4


def test_a_device_is_created_renamed_and_deleted(sdk: flywheel.Client, label: str) -> None:
    made = sdk.create_device({"label": label, "type": "reaper"})
    assert sdk.get_device(made.id).type == "reaper"
    sdk.modify_device(made.id, {"label": f"{label}-new", "disabled": True})
    changed = sdk.get_device(made.id)
    assert (changed.label, changed.disabled) == (f"{label}-new", True)
    assert made.id in [device.id for device in sdk.get_all_devices()]
    assert sdk.get_all_devices_status()[made.id].status == "unknown"
    sdk.delete_device(made.id)
    with pytest.raises(ApiException) as caught:
        sdk.get_device(made.id)
    refused(caught, 404)


def test_a_key_of_a_device_works_until_it_is_revoked(sdk: flywheel.Client, caller: Caller, label: str) -> None:
    device = sdk.create_device({"label": label, "type": "importer"})
    body = {"label": "first", "expires_at": "2027-03-01T00:00:00Z"}
    key = sdk.generate_key(device.id, body=body)
    assert len(key.unencrypted_secret) == 57
    host = caller.sdk_key.rpartition(":")[0]
    client = flywheel.Client(f"{host}:{key.unencrypted_secret}")
    assert client.get_auth_status().origin.id == device.id
    sdk.delete_device_key(device.id, sdk.get_device(device.id).api_keys[0].key)
    with pytest.raises(ApiException) as caught:
        client.get_auth_status()
    refused(caught, 401)
    close(client)


def test_a_device_reports_itself(sdk: flywheel.Client, caller: Caller) -> None:
    if caller.is_device:
        sdk.update_device({"version": "2.0", "interval": 600, "errors": ["Disk is full"]})
        told = sdk.get_current_device()
        assert (told.version, told.interval, told.errors) == ("2.0", 600, ["Disk is full"])
        assert sdk.get_all_devices_status()[told.id].status == "error"
        sdk.update_device({"errors": []})
        assert sdk.get_all_devices_status()[told.id].status == "ok"
    else:
        with pytest.raises(ApiException) as caught:
            sdk.update_device({"version": "2.0"})
        refused(caught, 403)


def test_the_ae_title_of_a_project(sdk: flywheel.Client, project: Any, label: str) -> None:
    title = label.replace("label-", "P")
    sdk.create_project_aet({"aet": title, "project_id": project.id})
    told = sdk.get_project_aet(title)
    assert (told.aet, told.project_id, bool(told.port)) == (title, project.id, True)
    assert title in [row.aet for row in sdk.get_all_project_aets()]
    sdk.delete_project_aet(title)
    assert title not in [row.aet for row in sdk.get_all_project_aets()]


def test_the_ae_title_of_a_peer(sdk: flywheel.Client, label: str) -> None:
    title = label.replace("label-", "V")
    sdk.create_service_aet({"aet": title, "host": "127.0.0.1", "port": 11112})
    told = sdk.get_service_aet(title)
    assert (told.aet, told.host, told.port) == (title, "127.0.0.1", 11112)
    assert title in [row.aet for row in sdk.get_all_service_aets()]
    sdk.delete_service_aet(title)
    assert title not in [row.aet for row in sdk.get_all_service_aets()]


def test_which_uids_exist(sdk: flywheel.Client, tree: Tree, label: str) -> None:
    uid = f"1.2.4.{label.rpartition('-')[2]}"
    tree.session.add_acquisition(label="a", uid=f"{uid}.1")
    tree.subject.add_session(label="b", uid=uid)
    assert sdk.check_uids_exist({"sessions": [uid, "9.9.9"]}).sessions == [uid]
    assert sdk.check_uids_exist({"acquisitions": [f"{uid}.1", "9.9.9"]}).acquisitions == [f"{uid}.1"]


def test_a_hierarchy_is_upserted(sdk: flywheel.Client, project: Any) -> None:
    body = {"subject": {"label": "s"}, "session": {"label": "v"}, "acquisition": {"label": "a"}}
    first, second = (sdk.upsert_project_hierarchy(project.id, body) for _ in range(2))
    assert (first.subject.upsert_result, second.acquisition.upsert_result) == ("created", "ignored")
    assert first.session.id == second.session.id
