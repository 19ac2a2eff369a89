"""An emulator in a process of its own, started from Python: a notebook, a script, a test.

azureml = launch(".emulator")
os.environ.update(azureml.env)
"""

import atexit
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from emulator.configuration import Configuration, environment, load_identity

ROOT = Path(__file__).parent.parent  # where ``-m emulator`` finds this package
STOP_S = 20
SAID = 2000  # characters of the log that an error tells


class NotStarted(RuntimeError):
    """The emulator ended before it answered; ``said`` is the end of its log."""

    def __init__(self, state: Path, said: str) -> None:
        super().__init__(state, said)
        self.state = state
        self.said = said

    def __str__(self) -> str:
        return f"The emulator of {self.state} did not start: {self.said or 'it said nothing'}"


@dataclass
class Launched:
    """A running emulator. ``env`` points any program that uses Azure's SDK at it."""

    state: Path
    process: "subprocess.Popen[str]" = field(repr=False)
    env: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def admin(self) -> str:
        """Where faults are set and the requests can be read."""
        return self.env["EMULATOR_ADMIN_URL"]

    def stop(self) -> None:
        """End it and all that it runs; its state stays. Safe to repeat."""
        atexit.unregister(self.stop)
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def __enter__(self) -> "Launched":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def launch(state: str | Path = ".emulator", *options: str) -> Launched:
    """Start an emulator on a state folder and return when it answers.

    ``options`` are those of the command line. It is stopped at the latest when this process ends.
    Raises NotStarted: an option it does not know, a folder that another one holds.
    """
    folder = Path(state).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "emulator.log"
    command = [sys.executable, "-m", "emulator", "--state", str(folder), *options]
    with log.open("w") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=said, text=True
        )
    started = Launched(folder, process)
    atexit.register(started.stop)
    if not process.stdout or not process.stdout.readline():
        started.stop()
        raise NotStarted(folder, log.read_text(errors="replace").strip()[-SAID:])
    started.env = environment(Configuration(folder, folder / "cache", load_identity(folder)))
    return started
