"""The tree of errors: each says what went wrong, with which thing, and what to do now.

    FineTuneError
    ├── SettingsError            the connection cannot be built from what is configured
    ├── CredentialError          no credential answered, or it may not do this
    │   └── CredentialUnavailable  where tokens come from does not answer; may be worth repeating
    ├── ResourceMissing          a named thing is not in the workspace or registry
    ├── NotApproved              a person said no, or nobody said yes in time
    ├── PlanRefused              at least one gate found an error; nothing was created
    ├── KeyTaken                 the run's key stands for a job with other parameters
    ├── ComputeError             the cluster cannot run the fine-tune
    ├── DataError                the data cannot be read or is not what was asked for
    │   ├── DataUnavailable      the source does not answer; may be worth repeating
    │   └── SuiteError           a suite of the evaluation cannot be asked, or not believed
    ├── JobError                 the pipeline job did not complete
    │   ├── JobFailed
    │   ├── JobCanceled
    │   ├── JobNotResponding
    │   └── TrainingHopeless     it was cancelled because its curve says that it leads nowhere
    ├── MetricsUnreadable        the tracking service did not give what the training logged
    ├── EndpointError            the endpoint, its deployment or an answer of it
    │   ├── DeploymentFailed
    │   ├── AnswerError
    │   │   └── NotAnsweringYet
    │   ├── EndpointLeftRunning
    │   └── PromotionError       the product endpoint is not one, or somebody else works on it
    │       └── CandidateFailed  the new deployment is not as good as the old one
    ├── OrphansRemain          the reaper could not remove everything that it should
    ├── RemovesTooMuch         the reaper was about to remove more than it may without a word
    ├── ResultRefused            a kept result is not one that this project writes
    ├── DeadlineExceeded         a wait was longer than the run allows
    ├── BudgetExceeded           the run has spent more than it may
    └── ServiceError             Azure refused or failed a request; carries its own words

All arguments reach ``Exception`` so that every error survives a pickle between processes.
"""

from __future__ import annotations

#: Azure's code for a token that was valid when it was fetched.
EXPIRED_TOKEN = "ExpiredAuthenticationToken"


class FineTuneError(Exception):
    """Base of everything this project raises on purpose."""

    #: Whether the same call may succeed if it is made again in a while.
    transient: bool = False


class SettingsError(FineTuneError):
    """The connection settings are missing or contradict each other."""


class CredentialError(FineTuneError):
    """No credential answered, or the one that did is not allowed to do this."""


class CredentialUnavailable(CredentialError):
    """What gives tokens does not answer for now: an outage, not a refusal."""

    transient = True


class ResourceMissing(FineTuneError):
    """A thing that was named does not exist where it was looked for."""

    def __init__(self, kind: str, name: str, where: str, remedy: str) -> None:
        super().__init__(kind, name, where, remedy)
        self.kind, self.name, self.where, self.remedy = kind, name, where, remedy

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}' is not in {self.where}. {self.remedy}"


class PlanRefused(FineTuneError):
    """At least one gate found an error, so nothing was created."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        lines = "\n".join(f"  - {reason}" for reason in self.reasons)
        return f"The plan has {len(self.reasons)} error(s); nothing was created:\n{lines}"


class NotApproved(FineTuneError):
    """Whoever was asked refused, or nobody answered in time."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what, self.reason = what, reason

    def __str__(self) -> str:
        why = self.reason or "no reason was given"
        return (
            f"It was not approved to {self.what}: {why}. Nothing was done of it. "
            "Retry the run to be asked again."
        )


class KeyTaken(FineTuneError):
    """The run's key stands for a job that was made with other parameters."""

    def __init__(self, job: str, differences: dict[str, str]) -> None:
        super().__init__(job, differences)
        self.job, self.differences = job, differences

    def __str__(self) -> str:
        fields = "; ".join(f"{field}: {how}" for field, how in self.differences.items())
        return (
            f"This run's key belongs to job '{self.job}', which was created with other parameters "
            f"({fields}). Choose another run.key, or use the same parameters."
        )


class ComputeError(FineTuneError):
    """The cluster cannot run the fine-tune."""


class DataError(FineTuneError):
    """The data cannot be read, or is not what was asked for."""


class DataUnavailable(DataError):
    """The source of the data does not answer, or stopped answering."""

    transient = True


class SuiteError(DataError):
    """A suite of the evaluation cannot be asked, or what it says could not be believed."""

    def __init__(self, suite: str, reason: str, remedy: str) -> None:
        super().__init__(suite, reason, remedy)
        self.suite, self.reason, self.remedy = suite, reason, remedy

    def __str__(self) -> str:
        return f"Suite '{self.suite}' {self.reason} {self.remedy}"


class JobError(FineTuneError):
    """The pipeline job ended without completing."""

    ended = "did not complete"

    def __init__(self, job: str, reason: str, studio_url: str = "") -> None:
        super().__init__(job, reason, studio_url)
        self.job, self.reason, self.studio_url = job, reason, studio_url

    def __str__(self) -> str:
        link = f" Its logs: {self.studio_url}" if self.studio_url else ""
        return (
            f"Job '{self.job}' {self.ended}: {self.reason} "
            "Fix the cause, then retry this run, which submits another attempt, or start a new "
            f"one.{link}"
        )


class JobFailed(JobError):
    """A step of the pipeline exited with an error."""

    ended = "failed"


class JobCanceled(JobError):
    """Somebody, or the service, cancelled the job."""

    ended = "was cancelled"


class JobNotResponding(JobError):
    """The service lost contact with the job's node, and it did not come back in time."""

    ended = "is not responding"


class TrainingHopeless(JobError):
    """The training's curve says that it leads nowhere, and the run is to stop then."""

    ended = "is cancelled, because its training is hopeless"


class MetricsUnreadable(FineTuneError):
    """Azure ML's tracking service refused or failed to give what a training logged.

    ``code`` and ``message`` are its own words. The job and its model are not touched by it.
    """

    def __init__(self, job: str, code: str, message: str, *, transient: bool = False) -> None:
        super().__init__(job, code, message)
        self.job, self.code, self.message, self.transient = job, code, message, transient

    def __str__(self) -> str:
        return (
            f"The training metrics of job '{self.job}' cannot be read: Azure ML's tracking service "
            f"returned {self.code}: {self.message.rstrip('.')}. The job itself completed; run "
            "again with the same key to use it."
        )


class EndpointError(FineTuneError):
    """The endpoint, its deployment, or an answer of it."""


class DeploymentFailed(EndpointError):
    """Azure could not bring the deployment up."""

    def __init__(self, endpoint: str, deployment: str, reason: str, logs: str = "") -> None:
        super().__init__(endpoint, deployment, reason, logs)
        self.endpoint, self.deployment, self.reason, self.logs = endpoint, deployment, reason, logs

    def __str__(self) -> str:
        tail = f"\nLast lines of its log:\n{self.logs}" if self.logs else ""
        return (
            f"Deployment '{self.deployment}' of endpoint '{self.endpoint}' failed: {self.reason} "
            f"Check the model, the instance type and its quota, then start the run again.{tail}"
        )


class AnswerError(EndpointError):
    """The endpoint answered a test request with an error or with nothing."""

    def __init__(self, endpoint: str, question: str, reason: str) -> None:
        super().__init__(endpoint, question, reason)
        self.endpoint, self.question, self.reason = endpoint, question, reason

    def __str__(self) -> str:
        return (
            f"Endpoint '{self.endpoint}' did not answer '{self.question[:80]}': {self.reason} "
            "Check the deployment's log, or set run.endpoint.keep and ask the endpoint yourself."
        )


class NotAnsweringYet(AnswerError):
    """The model's container did not take the request: it may be a young deployment's."""

    transient = True


class EndpointLeftRunning(EndpointError):
    """The endpoint could not be deleted: it may bill on."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(endpoint, reason)
        self.endpoint, self.reason = endpoint, reason

    def __str__(self) -> str:
        return (
            f"ENDPOINT '{self.endpoint}' MAY STILL RUN AND BILL: deleting it failed: {self.reason} "
            "The reaper will delete it on its next run. To be sure, delete it in the studio now."
        )


class PromotionError(EndpointError):
    """The product endpoint cannot be worked on, or there is nothing to go back to."""


class CandidateFailed(PromotionError):
    """A probe of the new deployment failed, or it is slower or worse than the old one."""

    def __init__(self, endpoint: str, deployment: str, step: str, reason: str) -> None:
        super().__init__(endpoint, deployment, step, reason)
        self.endpoint, self.deployment, self.step, self.reason = endpoint, deployment, step, reason

    def __str__(self) -> str:
        return (
            f"Deployment '{self.deployment}' of endpoint '{self.endpoint}' failed at {self.step}: "
            f"{self.reason} The traffic goes back to the old deployment. Look at the answers and "
            "the deployment's log, or loosen the limits of the promotion."
        )


class OrphansRemain(FineTuneError):
    """The reaper could not remove everything that it should."""

    def __init__(self, failures: dict[str, str]) -> None:
        super().__init__(failures)
        self.failures = failures

    def __str__(self) -> str:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.failures.items())
        return (
            f"{len(self.failures)} orphan(s) MAY STILL RUN AND BILL: {reasons} "
            "The reaper will try again on its next run. To be sure, remove them in the studio now."
        )


class RemovesTooMuch(FineTuneError):
    """The reaper would remove more at once than dead runs are likely to leave."""

    def __init__(self, amount: str, names: list[str]) -> None:
        super().__init__(amount, names)
        self.amount, self.names = amount, names

    def __str__(self) -> str:
        return (
            f"The reaper would remove {self.amount} ({', '.join(self.names)}): NOTHING WAS "
            "REMOVED, so all of it may still run and bill. Check that this is the right Prefect "
            "server, then run the reaper with removes_many=true (--removes-many)."
        )


class ResultRefused(FineTuneError):
    """A kept result is not one that this project writes; nothing of it was executed."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return (
            f"The saved result {self.path} is damaged, or not one of ours. Its step runs again and "
            "overwrites it. Check who may write to the result storage."
        )


class DeadlineExceeded(FineTuneError):
    """A wait was longer than the run allows."""

    def __init__(self, what: str, seconds: float, parameter: str) -> None:
        super().__init__(what, seconds, parameter)
        self.what, self.seconds, self.parameter = what, seconds, parameter

    def __str__(self) -> str:
        return (
            f"{self.what} took longer than its deadline of {self.seconds:.0f} s. "
            f"Raise {self.parameter}, or check in the studio what it is waiting for."
        )


class BudgetExceeded(FineTuneError):
    """The run has spent more than it may."""

    def __init__(self, spent: float, budget: float, currency: str, doing: str) -> None:
        super().__init__(spent, budget, currency, doing)
        self.spent, self.budget, self.currency, self.doing = spent, budget, currency, doing

    def __str__(self) -> str:
        return (
            f"Spent {self.spent:.2f} {self.currency} of a budget of {self.budget:.2f} while "
            f"{self.doing}; the job is cancelled and the endpoint deleted. "
            "Raise run.budget (0: no limit) to go on."
        )


class ServiceError(FineTuneError):
    """Azure refused or failed a request. Carries the service's own words."""

    def __init__(self, doing: str, status: int | None, code: str, message: str) -> None:
        super().__init__(doing, status, code, message)
        self.doing, self.status, self.code, self.message = doing, status, code, message

    @property
    def transient(self) -> bool:  # type: ignore[override]
        """Whether the service may answer otherwise in a while.

        No answer, throttled, 5xx; a token that expired on its way, for the next call gets a new
        one; and a conflict: when an answer is lost, the SDK asks again for what is being made, and
        the step that is repeated waits for that and adopts it.
        """
        if self.status is None or self.status in (408, 409, 429) or self.code == EXPIRED_TOKEN:
            return True
        return self.status >= 500 and self.status != 501

    def __str__(self) -> str:
        answered = f"HTTP {self.status}" if self.status else "no answer"
        return f"{self.doing}: Azure returned {answered} ({self.code}): {self.message}"
