"""What every action of the audit log is in words, and of which kind it is; `{}` stands for its target."""

from collections.abc import Mapping

KINDS: Mapping[str, str] = {
    "sign-in": "Sign-in",
    "reading": "Viewed or fetched",
    "data": "Data changed",
    "transfer": "Exports and imports",
    "association": "Associations",
    "keys": "API keys",
    "devices": "Devices",
    "peers": "DICOM peers",
    "storages": "External storage",
    "access": "Users and access",
    "settings": "Settings",
    "jobs": "Jobs",
    "log": "Audit log and site key",
}
"""Word in the address → name."""
DATA_TARGETS = ("group", "project", "subject", "session", "acquisition", "file")

_WORDS: Mapping[str, Mapping[str, str]] = {
    "sign-in": {
        "user:signed_in": "signed in",
        "user:signed_out": "signed out",
        "user:sign_in_refused": "was refused at sign-in",
        "session:all_ended": "signed out all users",
    },
    "reading": {
        "session:viewed": "viewed {}",
        "subject:viewed": "viewed {}",
        "file:downloaded": "downloaded {}",
        "session:fetched": "downloaded more files of {}",
        "session:downloaded": "downloaded {}",
        "container:downloaded": "downloaded {}",
        "study:retrieved": "retrieved {}",
        "record:downloaded": "downloaded {} of the archive",
    },
    "data": {
        **{f"{kind}:added": "created {}" for kind in DATA_TARGETS},
        **{f"{kind}:changed": "changed {}" for kind in DATA_TARGETS},
        **{f"{kind}:trashed": "moved {} to the trash" for kind in DATA_TARGETS},
        **{f"{kind}:restored": "restored {} from the trash" for kind in DATA_TARGETS},
        **{f"{kind}:purged": "purged {}" for kind in DATA_TARGETS},
        **{f"{kind}:deleted": "deleted {}" for kind in DATA_TARGETS},
        "session:uploaded": "uploaded files to {}",
        "container:uploaded": "uploaded files to {}",
        "file:mended": "repaired {} by sending it again",
        "conflict:resolved": "resolved {}",
        "record:noted": "acknowledged {} of the archive",
    },
    "transfer": {
        "export:started": "started {}",
        "export:tried": "started the dry run {}",
        "export:ended": "exported by {}",
        "send:ended": "sent by {}",
        "export:verified": "started the verification {}",
        "import:started": "started {}",
        "import:tried": "started the dry run {}",
        "import:ended": "imported by {}",
        "commitment:requested": "requested {}",
        "commitment:reported": "got the report of {}",
        "commitment:asked": "requested {}",
        "commitment:answered": "answered {}",
        "schedule:added": "created {}",
        "schedule:paused": "paused {}",
        "schedule:resumed": "resumed {}",
        "schedule:run": "ran {} now",
        "schedule:removed": "deleted {}",
        "schedule:stopped": "stopped {} automatically",
    },
    "association": {
        "association:released": "ended an association with {}",
        "association:aborted": "had an aborted association with {}",
        "association:failed": "had a failed association with {}",
        "association:rejected": "refused a caller at {}",
        "association:lost": "had a lost association with {}",
    },
    "keys": {
        "key:issued": "generated {}",
        "key:revoked": "revoked {}",
        "key:rotated": "rotated {}",
    },
    "devices": {
        "device:added": "added {}",
        "device:renamed": "renamed {}",
        "device:owner_changed": "changed the owner of {}",
        "device:removed": "removed {}",
        "device:type_set": "set the type of {}",
        "device:enabled": "enabled {}",
        "device:disabled": "disabled {}",
    },
    "peers": {
        "peer:registered": "registered {}",
        "peer:edited": "edited {}",
        "peer:removed": "removed {}",
        "peer:enabled": "enabled {}",
        "peer:disabled": "disabled {}",
        "peer:echoed": "tested {} by C-ECHO",
        "caller:ignored": "ignored {}",
        "rule:added": "added a routing rule",
        "rule:changed": "changed a routing rule",
        "rule:removed": "removed a routing rule",
    },
    "storages": {
        "storage:added": "added {}",
        "storage:changed": "edited {}",
        "storage:removed": "removed {}",
        "storage:tested": "tested {}",
    },
    "access": {
        "user:added": "created {}",
        "user:enabled": "enabled {}",
        "user:disabled": "disabled {}",
        "user:role_changed": "changed the role of {}",
        "user:password_changed": "changed the password",
        "user:password_reset": "generated a new password for {}",
        "user:time_zone_changed": "changed the time zone",
        "grant:given": "gave access to {}",
        "grant:changed": "changed the access of {}",
        "grant:taken": "removed access of {}",
    },
    "settings": {
        "setting:changed": "changed the settings",
        "certificate:installed": "installed a TLS certificate",
        "certificate:created": "created a TLS certificate",
    },
    "jobs": {"job:cancelled": "cancelled {}", "job:retried": "retried {}"},
    "log": {
        "audit:key_began": "began to authenticate the audit log with the site's key",
        "audit:restore_accepted": "accepted that the database was restored",
        "site:verification_started": "started the verification of the site",
        "site_key:replaced": "replaced the site's key",
    },
}
WORDS: Mapping[str, str] = {action: words for actions in _WORDS.values() for action, words in actions.items()}


def actions_of(kind: str) -> tuple[str, ...]:
    """The actions of a kind."""
    return tuple(_WORDS[kind])


def words_for(action: str) -> str:
    """moved {} to the trash. An action of another release has its stored words."""
    noun, _, verb = action.partition(":")
    return WORDS.get(action, f"{noun} {verb}: {{}}".replace("_", " "))
