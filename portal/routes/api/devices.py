"""/api/devices: devices, their reports, and their keys."""

from typing import Any

from flask import Blueprint, jsonify
from werkzeug.wrappers import Response

from portal import timestamps
from portal.devices import api_keys, device_status, devices
from portal.errors import NotAllowed
from portal.routes.api import answers, authentication, bodies
from portal.tree import rest_ids

bp = Blueprint("devices", __name__, url_prefix="/devices")


@bp.get("")
def list_all() -> Response:
    return jsonify([_shape(row) for row in devices.list_all()])


@bp.post("")
def add() -> Response:
    body = bodies.read(label=str, type=str)
    return jsonify(_shape(devices.add(bodies.require(body, "label"), body.get("type"), actor=authentication.actor())))


@bp.get("/self")
def show_self() -> Response:
    return jsonify(_shape(devices.get(_own_number())))


@bp.put("/self")
def report() -> Response:
    _own_number()
    report_fields = bodies.read(type=str, version=str, interval=int, errors=list, info=dict)
    return jsonify(_shape(devices.record_report(report_fields, actor=authentication.actor())))


@bp.get("/status")
def status() -> Response:
    statuses = {}
    for row in devices.list_all():
        fields = {"status": device_status.health(row), "last_seen": answers.moment(row.last_seen)}
        statuses[rest_ids.encode("device", row.id)] = fields | ({"errors": row.errors} if row.errors else {})
    return jsonify(statuses)


@bp.get("/<device_id>")
def show(device_id: str) -> Response:
    return jsonify(_shape(devices.get(rest_ids.row_id(device_id, "device"))))


@bp.put("/<device_id>")
def change(device_id: str) -> Response:
    body = bodies.read(label=str, disabled=bool)
    row = devices.get(rest_ids.row_id(device_id, "device"))
    return jsonify(
        _shape(
            devices.change(row.id, label=body.get("label"), disabled=body.get("disabled"), actor=authentication.actor())
        )
    )


@bp.delete("/<device_id>")
def remove(device_id: str) -> Response:
    devices.remove(rest_ids.row_id(device_id, "device"), actor=authentication.actor())
    return jsonify(deleted=1)


@bp.post("/<device_id>/key")
def issue(device_id: str) -> Response:
    body = bodies.read(label=str, expires_at=str)
    owner = devices.get(rest_ids.row_id(device_id, "device"))
    expires = timestamps.parse(body["expires_at"], field="expires_at") if body.get("expires_at") else None
    issued = api_keys.issue(owner, name=bodies.require(body, "label"), expires=expires, actor=authentication.actor())
    return jsonify(_key(issued.row) | {"unencrypted_secret": issued.secret})


@bp.delete("/<device_id>/key/<key_id>")
def revoke(device_id: str, key_id: str) -> tuple[str, int]:
    api_keys.revoke(devices.get(rest_ids.row_id(device_id, "device")), key_id, actor=authentication.actor())
    return "", 204


def _own_number() -> int:
    actor = authentication.actor()
    if actor.type != "device":
        raise NotAllowed("Only devices can use this address. Use the device's API key.")
    return int(actor.id)


def _shape(row: Any) -> dict[str, Any]:
    return {
        "_id": rest_ids.encode("device", row.id),
        "label": row.label,
        "name": row.label,
        "type": row.type,
        "version": row.version,
        "errors": row.errors,
        "interval": row.interval,
        "info": row.info,
        "last_seen": answers.moment(row.last_seen),
        "disabled": row.disabled,
        "api_keys": [_key(key) for key in api_keys.for_owner(row)],
        "created": answers.moment(row.created),
        "modified": answers.moment(row.modified),
        "origin": answers.origin(row),
    }


def _key(row: Any) -> dict[str, Any]:
    return {
        "label": row.name,
        "key": row.key_id,
        "state": api_keys.state(row),
        "created": answers.moment(row.created),
        "last_used": answers.moment(row.last_used),
        "expires_at": answers.moment(row.expires),
    }
