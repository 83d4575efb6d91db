"""Steps of a flow: Prefect tasks that keep nothing, for the lake does, and retry what may pass."""

from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from infra.errors import LimelightError


def _infrastructure(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry what a person need not act on: a lost connection or worker, not a wrong request."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, LimelightError | ValueError | TypeError | LookupError)


step: Any = partial(
    task,
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=_infrastructure,
)
"""A decorator that makes a function a step; further arguments are those of `prefect.task`."""
