"""What Event Grid would tell a subscriber about runs: CloudEvents posted to one webhook.

Delivery is at least once: what the webhook does not take is tried again, later and later.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from emulator.services.jobs.records import Record

log = logging.getLogger(__name__)

# Event Grid's own schedule, up to the point where a test machine has long lost interest.
RETRY_AFTER_S = (10, 30, 60, 300, 600)
ORIGIN = "eventgrid.azure.net"
STATUS_CHANGED = "Microsoft.MachineLearningServices.RunStatusChanged"
COMPLETED = "Microsoft.MachineLearningServices.RunCompleted"


def status_event(record: Record) -> dict[str, Any]:
    """The CloudEvent for the status that the run has now."""
    return {
        "id": str(uuid.uuid4()),
        "source": record["workspace"],
        "subject": f"experiments/{record['experiment_id']}/runs/{record['name']}",
        "type": STATUS_CHANGED,
        "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "data": {
            "experimentId": record["experiment_id"],
            "experimentName": record["experiment"],
            "runId": record["name"],
            "runType": record["run_type"],
            "runTags": record["tags"],
            "runProperties": record["properties"],
            "runStatus": record["status"],
        },
    }


def completed_event(record: Record) -> dict[str, Any]:
    """The CloudEvent that Azure sends besides when a run has completed."""
    event = status_event(record)
    data = {key: value for key, value in event["data"].items() if key != "runStatus"}
    return {**event, "type": COMPLETED, "data": data}


class Webhook:
    """The subscriber, if there is one. Never blocks and never fails the job it tells about."""

    def __init__(self, url: str | None, sleep: Callable[[float], Awaitable[None]]) -> None:
        self.url = url
        self._sleep = sleep
        self._deliveries: set[asyncio.Task[None]] = set()
        self._allowed = False
        self._client = httpx.AsyncClient(timeout=10, trust_env=False) if url else None

    def tell(self, record: Record) -> None:
        """Send what has happened to the run."""
        if self._client is None:
            return
        self._send(status_event(record))
        if record["status"] == "Completed":
            self._send(completed_event(record))

    async def close(self) -> None:
        for delivery in list(self._deliveries):
            delivery.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def _send(self, event: dict[str, Any]) -> None:
        delivery = asyncio.create_task(self._deliver(event))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)

    async def _deliver(self, event: dict[str, Any]) -> None:
        for pause in (*RETRY_AFTER_S, None):
            if await self._taken(event):
                return
            if pause is not None:
                await self._sleep(pause)
        log.warning("event %s (%s) was not taken by %s", event["id"], event["subject"], self.url)

    async def _is_allowed(self) -> bool:
        """Ask, until it says so, whether the webhook wants our events: CloudEvents' handshake."""
        assert self._client is not None
        assert self.url is not None
        if not self._allowed:
            headers = {"WebHook-Request-Origin": ORIGIN}
            answer = await self._client.request("OPTIONS", self.url, headers=headers)
            allowed = answer.headers.get("WebHook-Allowed-Origin", "")
            self._allowed = answer.is_success and allowed in ("*", ORIGIN)
        return self._allowed

    async def _taken(self, event: dict[str, Any]) -> bool:
        assert self._client is not None
        assert self.url is not None
        headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
        try:
            if not await self._is_allowed():
                return False
            answer = await self._client.post(self.url, json=event, headers=headers)
        except httpx.HTTPError:
            return False
        return answer.is_success
