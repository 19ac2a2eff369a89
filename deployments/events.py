"""Azure's events about jobs, as Prefect events: the webhook behind an Event Grid subscription.

``python -m deployments.events`` listens for ``Microsoft.MachineLearningServices.RunStatusChanged``
and ``...RunCompleted``, and tells the Prefect server of ``PREFECT_API_URL`` that a job of ours has
ended; an automation then resumes the run that is suspended for it. Azure's guide said for years
that the first of the two is sent of failed runs only, and says today that it is sent of every
change (MicrosoftDocs/azure-ai-docs, how-to-use-event-grid.md): either is enough. It keeps nothing:
an event that it loses is made up for by the poller (``flows/resume.py``). Prefect Cloud has
webhooks of its own that do the same.

Both of Event Grid's schemas are understood, each with its own handshake. Whoever knows the key may
post; it stands in the subscription's address (``?code=...``), which Azure keeps as a secret.
"""

from __future__ import annotations

import argparse
import hmac
import json
import logging
import os
import sys
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect.events import emit_event
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flows.lifecycle.environment import use_env_file
from flows.lifecycle.events import run_of_job

KEY = "FINETUNE_EVENTS_KEY"
STATUS_CHANGED = "Microsoft.MachineLearningServices.RunStatusChanged"
#: Of a run that has completed; has no status.
COMPLETED = "Microsoft.MachineLearningServices.RunCompleted"
VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
#: The statuses in which a job has ended, by how an event may write them: Azure's own example
#: (MicrosoftDocs/azure-docs, event-schema-machine-learning.md) says "failed".
ENDS = {status.lower(): status for status in ("Completed", "Failed", "Canceled")}
#: What the Prefect events are called.
JOB_ENDED = {f"azure-ml.job.{status}" for status in ENDS.values()}
#: Event Grid sends batches of 1 MB at most.
MOST_BYTES = 1_100_000

log = logging.getLogger(__name__)


def create_app(key: str) -> Starlette:
    """Return the webhook; ``key`` is what posters must know."""

    async def allow(request: Request) -> Response:
        """CloudEvents' handshake: who asks with the key may send."""
        if not _knows(request, key):
            return Response(status_code=401)
        origin = request.headers.get("WebHook-Request-Origin", "")
        return Response(headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"})

    async def take(request: Request) -> Response:
        if not _knows(request, key):
            return Response(status_code=401)
        try:
            events = _events(await _body(request))
        except ValueError as error:
            return JSONResponse({"error": f"not an event: {error}"}, status_code=400)
        for one in events:
            if one.get("eventType") == VALIDATION:
                code = dict(one.get("data") or {}).get("validationCode")
                return JSONResponse({"validationResponse": code})
        told = [await run_in_threadpool(tell, one) for one in events]
        return JSONResponse({"told": sum(told)})

    return Starlette(
        routes=[
            Route("/events", allow, methods=["OPTIONS"]),
            Route("/events", take, methods=["POST"]),
        ]
    )


def _knows(request: Request, key: str) -> bool:
    return hmac.compare_digest(request.query_params.get("code", "").encode(), key.encode())


async def _body(request: Request) -> Any:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise ValueError(f"longer than {MOST_BYTES} bytes")
    return json.loads(body)


def _events(body: Any) -> list[dict[str, Any]]:
    events = body if isinstance(body, list) else [body]
    if not all(isinstance(one, dict) for one in events):
        raise ValueError("neither an object nor a list of objects")
    return events


def tell(event: dict[str, Any]) -> bool:
    """Emit a Prefect event for a job of ours that has ended; False for anything else."""
    found = event.get("data")
    if not isinstance(found, dict):
        return False
    # Event Grid has been seen to write RunTags beside runId (azure-sdk-for-go, recorded event).
    data = {key[:1].lower() + key[1:]: value for key, value in found.items()}
    status, job = _end(event, data), str(data.get("runId") or "")
    flow_run = run_of_job(job, data.get("runTags"))
    if status is None or flow_run is None:
        return False
    emit_event(
        event=f"azure-ml.job.{status}",
        resource={"prefect.resource.id": f"azure-ml.job.{job}", "prefect.resource.name": job},
        related=[
            {
                "prefect.resource.id": f"prefect.flow-run.{flow_run}",
                "prefect.resource.role": "flow-run",
            }
        ],
        # A job ends once. Event Grid tells of it at least once, and in up to two kinds of events.
        id=uuid5(NAMESPACE_URL, f"{event.get('source') or event.get('topic')}/{job}/{status}"),
    )
    log.info("job %s: %s, for flow run %s", job, status, flow_run)
    return True


def _end(event: dict[str, Any], data: dict[str, Any]) -> str | None:
    """Return the status in which the event says that its job has ended; None if it does not."""
    kind = event.get("type") or event.get("eventType")
    if kind == COMPLETED:
        return "Completed"
    return ENDS.get(str(data.get("runStatus")).lower()) if kind == STATUS_CHANGED else None


def main(argv: list[str]) -> int:
    """Listen until stopped; 2 without a key."""
    import uvicorn

    parser = argparse.ArgumentParser(prog="python -m deployments.events", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4210)
    given = parser.parse_args(argv)
    use_env_file()
    key = os.environ.get(KEY, "")
    if len(key) < 16:
        print(f"Set {KEY} to at least 16 characters that only Event Grid knows.", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, force=True)  # Prefect has set it up for flows
    # The access log would show the key, which stands in the address.
    uvicorn.run(create_app(key), host=given.host, port=given.port, access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
