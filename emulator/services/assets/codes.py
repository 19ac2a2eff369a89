"""Code of the workspace: a container of its own for each upload, as the SDK asks for it."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol.resources import WORKSPACE
from emulator.protocol.routing import Routes
from emulator.services.storage.blobs import Storage
from emulator.services.storage.signatures import Grant, service_sas

#: What an upload's signature allows: read, create, write, list.
LETTERS = "rcwl"
UPLOAD_S = 3600.0


@dataclass(frozen=True)
class CodeService:
    """What the upload of code asks."""

    config: Configuration
    clock: Clock
    storage: Storage


async def start_upload(service: CodeService, request: Request) -> Response:
    """Make a container, and answer its address and a signature that opens it for an hour."""
    upload = str(uuid.uuid4())
    container = f"{service.config.identity.subscription[:8]}-{upload}"
    service.storage.create(container, {})
    place = f"https://{service.config.blob_host}/{container}"
    return JSONResponse(
        {
            "blobReferenceForConsumption": {
                "blobUri": place,
                "storageAccountArmId": service.config.storage_account_id,
                "credential": {
                    "credentialType": "SAS",
                    "sasUri": f"{place}?{_signature(service, container)}",
                },
            },
            "pendingUploadId": upload,
            "pendingUploadType": "TemporaryBlobReference",
        }
    )


def _signature(service: CodeService, container: str) -> str:
    mine = service.config
    until = datetime.fromtimestamp(service.clock.now() + UPLOAD_S, UTC)
    grant = Grant(LETTERS, "c", until.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return service_sas(mine.account, mine.identity.storage_key, container, grant)


def shown(properties: dict[str, Any]) -> dict[str, Any]:
    """The properties as the service answers them: its own values are texts."""
    own = properties.get("properties") or {}
    return {**properties, "properties": {name: str(value) for name, value in own.items()}}


def has_hash(asset: dict[str, Any], wanted: str | None) -> bool:
    """Whether the code has this content: the SDK uploads nothing that is there already."""
    known = (asset["properties"].get("properties") or {}).get("hash_sha256")
    return not wanted or known == wanted


ROUTES: Routes[CodeService] = [
    ("POST", f"{WORKSPACE}/codes/{{name}}/versions/{{version}}/startPendingUpload", start_upload),
]
