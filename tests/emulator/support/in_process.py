"""The emulator inside the test's own process, its clock turned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx

from emulator.app import Emulator, azure_app, plain_app
from emulator.clock import HandClock
from emulator.configuration import Configuration, load_identity
from emulator.protocol import tokens
from tests.emulator.support.waiting import PAUSE_S, until

SCORER = Path(__file__).with_name("scorer_stand_in.py")
DEADLINE_S = 30.0


class InProcess:
    """One emulator on a state folder: requests answer at once, operations as time passes."""

    def __init__(self, state: Path, **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        options = {"profile": "azure"} | options
        self.config = Configuration(state, state / "cache", load_identity(state), **options)
        self.clock = HandClock()
        self.emulator = Emulator(self.config, self.clock)
        self.emulator.serving.scorers.program = SCORER
        self._azure = httpx.AsyncClient(transport=httpx.ASGITransport(azure_app(self.emulator)))
        self._plain = httpx.AsyncClient(transport=httpx.ASGITransport(plain_app(self.emulator)))
        self.run(self.emulator.start())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, DEADLINE_S))

    def close(self) -> None:
        self.run(self.emulator.close())
        self.run(self._azure.aclose())
        self.run(self._plain.aclose())
        self.loop.close()

    # -- time

    def move(self, seconds: float) -> None:
        """Let time pass, and whatever waited for it go on."""
        self.run(self.clock.move(seconds))
        self.run(_breathe())

    def until(self, done: Callable[[], Any]) -> Any:
        """Wait for real processes to get somewhere."""
        return until(done, pause=lambda: self.run(asyncio.sleep(PAUSE_S)))

    # -- requests

    @property
    def token(self) -> str:
        audience = f"https://{self.config.management_host}"
        return tokens.issue(self.config, audience, self.clock.now())

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request to the management host; a path without a leading / is the workspace's."""
        path = path if path.startswith(("/", "https:")) else f"{self.config.workspace_id}/{path}"
        return self.at(self.config.management_host, method, path.rstrip("/"), **options)

    def at(self, host: str, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        url = path if path.startswith("https:") else f"https://{host}{path}"
        kept = {name: value for name, value in headers.items() if value is not None}
        answer: httpx.Response = self.run(self._azure.request(method, url, headers=kept, **options))
        return answer

    def plain(self, method: str, path: str, **options: Any) -> httpx.Response:
        url = f"http://127.0.0.1{path}"
        answer: httpx.Response = self.run(self._plain.request(method, url, **options))
        return answer

    def operation(self, answer: httpx.Response) -> dict[str, Any]:
        """What the operation says that an answer named."""
        found: dict[str, Any] = self.ask("GET", answer.headers["Azure-AsyncOperation"]).json()
        return found

    def finish(self, answer: httpx.Response) -> dict[str, Any]:
        """Follow an operation to its end, real processes included."""
        assert answer.status_code in (200, 201, 202), answer.text

        def ended() -> bool:
            self.move(600)
            return bool(self.operation(answer)["status"] != "Updating")

        self.until(ended)
        return self.operation(answer)

    # -- things that most tests need

    def cluster(self, name: str, **inner: Any) -> httpx.Response:
        """Ask for a cluster of one dedicated node."""
        wanted = {"vmSize": "Standard_NC6s_v3", "scaleSettings": {"maxNodeCount": 1}, **inner}
        body = {"properties": {"computeType": "AmlCompute", "properties": wanted}}
        return self.ask("PUT", f"computes/{name}", json=body)

    def model(self, name: str = "chat", version: str = "1", text: str = "first") -> str:
        """Register a model whose folder holds one file; its id."""
        place = f"models/{name}-{version}"
        folder = self.emulator.storage.path("workspaceblobstore", place)
        folder.mkdir(parents=True)
        (folder / "MLmodel").write_text(text)
        uri = f"azureml://datastores/workspaceblobstore/paths/{place}"
        body = {"properties": {"modelUri": uri, "modelType": "mlflow_model"}}
        answer = self.ask("PUT", f"models/{name}/versions/{version}", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def endpoint(self, name: str = "chat-end", **properties: Any) -> httpx.Response:
        body = {"location": "westeurope", "properties": {"authMode": "Key", **properties}}
        return self.ask("PUT", f"onlineEndpoints/{name}", json=body)

    def deploy(
        self, model: str, endpoint: str = "chat-end", name: str = "blue", **properties: Any
    ) -> httpx.Response:
        body = {
            "location": "westeurope",
            "sku": {"name": "Default", "capacity": 1},
            "properties": {"model": model, "instanceType": "Standard_NC6s_v3", **properties},
        }
        return self.ask("PUT", f"onlineEndpoints/{endpoint}/deployments/{name}", json=body)

    def keys(self, endpoint: str = "chat-end") -> dict[str, str]:
        found: dict[str, str] = self.ask("POST", f"onlineEndpoints/{endpoint}/listKeys").json()
        return found

    def score(
        self, question: Any, endpoint: str = "chat-end", key: str = "", **headers: str
    ) -> httpx.Response:
        host = f"{endpoint}.westeurope.inference.{self.config.suffix}"
        key = key or self.keys(endpoint)["primaryKey"]
        given = {"Authorization": f"Bearer {key}"} | headers
        return self.at(host, "POST", "/score", json=question, headers=given)


async def _breathe() -> None:
    """Let everything that can go on without time or outside help go on."""
    for _ in range(20):
        await asyncio.sleep(0)
