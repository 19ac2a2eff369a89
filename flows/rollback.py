"""Give a product endpoint's traffic back to the old deployment, at once."""

from datetime import timedelta
from typing import Annotated

from prefect import flow
from pydantic import Field

from finetuning.azure.naming import ENDPOINT_RULE
from finetuning.azure.product import Product
from finetuning.form.context import RunContext
from finetuning.form.run import Deadlines
from flows.lifecycle.context import own
from tasks.connection import find_settings
from tasks.promotion import roll_back_traffic


@flow(name="rollback", validate_parameters=True, persist_result=False)
def rollback(
    endpoint: Annotated[str, Field(pattern=ENDPOINT_RULE.pattern)],
    keep_old_hours: Annotated[float, Field(ge=0, le=24 * 30)] = 24,
) -> Product:
    """Give all traffic back to the old deployment, within a minute. Nothing is deployed.

    Args:
        endpoint: The product endpoint's name.
        keep_old_hours: Hours until the reaper deletes the deployment that loses the traffic.

    Raises:
        PromotionError: there is no old deployment any more.
    """
    deadlines = Deadlines()
    context = RunContext(
        settings=find_settings(), owner=own("rollback", timedelta(hours=1)), deadlines=deadlines
    )
    return roll_back_traffic(context, endpoint, keep_old_hours)
