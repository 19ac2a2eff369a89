"""A product endpoint: which of its deployments serves, which is tried, which is kept to go back to.

All of it stands in the endpoint's tags, which change in the same request as the traffic. So
whoever comes next, a restarted run, a rollback or the reaper, knows where the traffic belongs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from finetuning.azure.ownership import CREATED_TAG, EXPIRES_TAG, KEEP_TAG, SERVED_TAG

PRODUCT_TAG = "finetune.product"
#: The deployment that has all the traffic when nothing is being tried.
SERVING_TAG = "finetune.serving"
CANDIDATE_TAG = "finetune.candidate"
PREVIOUS_TAG = "finetune.previous"
#: Until when the previous deployment is kept.
UNTIL_TAG = "finetune.previous-until"

#: The names of the two deployments.
COLOURS = ("blue", "green")


class Product(BaseModel):
    """What a product endpoint's tags say; empty: there is none."""

    model_config = ConfigDict(frozen=True)

    name: str
    serving: str = ""
    candidate: str = ""
    previous: str = ""
    previous_until: datetime | None = None

    @property
    def free(self) -> str:
        """Return the name for the next candidate: the one that does not serve."""
        return next(one for one in COLOURS if one != self.serving)

    @property
    def home(self) -> dict[str, int]:
        """Return the traffic when nothing is being tried."""
        return {self.serving: 100} if self.serving else {}

    def tags(self) -> dict[str, str]:
        """Return the tags that say this."""
        return {
            PRODUCT_TAG: "true",
            SERVING_TAG: self.serving,
            CANDIDATE_TAG: self.candidate,
            PREVIOUS_TAG: self.previous,
            UNTIL_TAG: self.previous_until.isoformat(timespec="seconds")
            if self.previous_until
            else "",
        }

    def trying(self) -> Product:
        """Return the product with a candidate beside what serves."""
        return self.model_copy(update={"candidate": self.free})

    def settled(self, now: datetime, keep_old: timedelta) -> Product:
        """Return the product whose candidate serves; what served before is kept for a while."""
        return Product(
            name=self.name,
            serving=self.candidate,
            previous=self.serving,
            previous_until=now + keep_old if self.serving else None,
        )

    def rolled_back(self, now: datetime, keep_old: timedelta) -> Product:
        """Return the product whose old deployment serves again; the other is kept for a while.

        While a candidate is being tried the old one is what still serves.
        """
        back, away = (
            (self.serving, self.candidate) if self.candidate else (self.previous, self.serving)
        )
        return Product(name=self.name, serving=back, previous=away, previous_until=now + keep_old)

    def without(self, deployment: str) -> Product:
        """Return the product once a deployment that does not serve is gone."""
        gone: dict[str, object] = {}
        if self.candidate == deployment:
            gone["candidate"] = ""
        if self.previous == deployment:
            gone |= {"previous": "", "previous_until": None}
        return self.model_copy(update=gone)


def read_product(name: str, tags: Mapping[str, str] | None) -> Product | None:
    """Return what the tags say; None if they do not say that it is a product endpoint."""
    given = dict(tags or {})
    if given.get(PRODUCT_TAG) != "true":
        return None
    return Product(
        name=name,
        serving=given.get(SERVING_TAG, ""),
        candidate=given.get(CANDIDATE_TAG, ""),
        previous=given.get(PREVIOUS_TAG, ""),
        previous_until=_moment(given.get(UNTIL_TAG, "")),
    )


def kept_tags(now: datetime, keep: timedelta) -> dict[str, str]:
    """Return the tags of a product endpoint that serves: kept on purpose, until when."""
    return {
        KEEP_TAG: "true",
        SERVED_TAG: now.isoformat(timespec="seconds"),
        EXPIRES_TAG: (now + keep).isoformat(timespec="seconds"),
    }


def owned_tags(there: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a product endpoint that a run works on: the run's, with its own times.

    Whether it is kept, and until when, a try does not change.
    """
    stays = {
        name: there[name]
        for name in (CREATED_TAG, EXPIRES_TAG, KEEP_TAG, SERVED_TAG)
        if name in there
    }
    return {**there, **own, **stays}


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
