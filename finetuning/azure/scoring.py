"""An endpoint's own host, asked directly: one request a question, whose seconds are its own.

The SDK's ``invoke`` asks Azure Resource Manager for deployments, endpoint and keys before each
request: four calls in place of one, whose times would be taken for the model's.
"""

from __future__ import annotations

import time
from typing import Any

from finetuning.azure.client import open_client
from finetuning.azure.settings import Settings
from finetuning.azure.time_limits import request_limits

#: What an endpoint's host answers while its model is busy, young or replaced
#: (MicrosoftDocs, how-to-troubleshoot-online-endpoints): asked again, after Retry-After if given.
BUSY = [408, 424, 429, 502, 503, 504]


class Scoring:
    """A deployment that can be asked, from several threads. Its key does not leave this object."""

    def __init__(self, url: str, headers: dict[str, str], *, patient: bool = True) -> None:
        from azure.core.pipeline.policies import RetryPolicy, SansIOHTTPPolicy

        class Timed(SansIOHTTPPolicy[Any, Any]):
            """Takes each try's own time: waiting for Retry-After is none of the model's."""

            def on_request(self, request: Any) -> None:
                request.context["began"] = time.perf_counter()

            def on_response(self, request: Any, response: Any) -> None:
                response.context["seconds"] = time.perf_counter() - request.context["began"]

        self._url, self._headers = url, headers
        again = RetryPolicy(retry_on_status_codes=BUSY) if patient else RetryPolicy.no_retries()
        self._policies = [again, Timed()]

    def ask(self, body: dict[str, Any]) -> tuple[str, float]:
        """Return the answer's text and the seconds that its request took.

        Raises:
            azure.core.exceptions.AzureError: it did not answer, or with an error.
        """
        from azure.core import PipelineClient
        from azure.core.rest import HttpRequest

        client: Any  # generic in request types that its own HttpRequest does not name
        with PipelineClient(base_url="", policies=self._policies) as client:
            answer = client.send_request(
                HttpRequest("POST", self._url, json=body, headers=self._headers),
                _return_pipeline_response=True,
                retry_on_methods=["POST"],  # asking twice does no harm
                **request_limits(),
            )
            answer.http_response.raise_for_status()
            return str(answer.http_response.text()), float(answer.context["seconds"])


def open_scoring(
    settings: Settings, endpoint: str, deployment: str, *, patient: bool = True
) -> Scoring:
    """Return the way to ask a deployment, whatever the endpoint's traffic.

    ``patient``: a busy or failing deployment is asked again; otherwise its first word counts.

    Raises:
        azure.core.exceptions.AzureError: the endpoint or its key may not be read.
    """
    online = open_client(settings).online_endpoints
    headers = {
        "Authorization": f"Bearer {online.get_keys(endpoint).primary_key}",
        "azureml-model-deployment": deployment,
    }
    return Scoring(str(online.get(endpoint).scoring_uri), headers, patient=patient)
