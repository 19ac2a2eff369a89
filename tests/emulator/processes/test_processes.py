"""Real processes on real leashes."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from emulator.processes.children import Processes, ProcessNotStarted
from tests.emulator.support.waiting import until


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def program(folder: Path, text: str) -> list[str]:
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text))
    return [sys.executable, str(path)]


def exists(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_the_exit_code_of_the_program_comes_back_and_its_output_is_in_the_log(tmp_path):
    argv = program(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")

    async def work() -> int:
        processes = Processes(tmp_path / "p")
        running = await processes.start("step", argv, cwd=tmp_path, log=tmp_path / "log.txt")
        return await running.wait()

    assert run(work()) == 7
    assert (tmp_path / "log.txt").read_text() == "out\nerr\n"


def test_a_program_that_a_signal_ended_has_128_plus_its_number(tmp_path):
    argv = program(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    async def work() -> int:
        running = await Processes(tmp_path).start("p", argv, cwd=tmp_path, log=tmp_path / "l")
        return await running.wait()

    assert run(work()) == 128 + signal.SIGKILL


def test_a_process_is_listed_while_it_runs_and_stop_terminates_it(tmp_path):
    argv = program(tmp_path, "import time; time.sleep(600)")

    async def work() -> tuple[list[str], int, list[str], int]:
        processes = Processes(tmp_path)
        running = await processes.start("sleeper", argv, cwd=tmp_path, log=tmp_path / "l")
        before = processes.alive()
        code = await running.stop()
        return before, code, processes.alive(), running.pid

    before, code, after, pid = run(work())
    assert (before, code, after) == (["sleeper"], 128 + signal.SIGTERM, [])
    assert not exists(pid)


def test_a_program_that_ignores_terminate_is_killed_with_its_children(tmp_path):
    argv = program(
        tmp_path,
        """
        import pathlib, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import signal, time\\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
        pathlib.Path("child").write_text(str(child.pid)); pathlib.Path("ready").touch()
        time.sleep(600)
        """,
    )

    async def work() -> int:
        running = await Processes(tmp_path).start("p", argv, cwd=tmp_path, log=tmp_path / "l")
        await asyncio.to_thread(until, (tmp_path / "ready").exists, "the program is up")
        return await running.stop(grace_s=0.2)

    assert run(work()) == 128 + signal.SIGKILL
    grandchild = int((tmp_path / "child").read_text())
    until(lambda: not exists(grandchild), "the grandchild is gone")


def test_what_a_finished_program_left_behind_is_killed(tmp_path):
    argv = program(
        tmp_path,
        """
        import subprocess, sys
        print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
        """,
    )

    async def work() -> int:
        running = await Processes(tmp_path).start("p", argv, cwd=tmp_path, log=tmp_path / "l")
        return await running.wait()

    assert run(work()) == 0
    orphan = int((tmp_path / "l").read_text())
    until(lambda: not exists(orphan), "the orphan is gone")


def test_a_process_dies_when_its_holder_is_killed(tmp_path):
    argv = program(tmp_path, "import time; time.sleep(600)")
    holder = program(tmp_path, "import time; time.sleep(600)")
    script = tmp_path / "holder.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import asyncio, pathlib
            from emulator.processes.children import Processes
            async def main():
                folder = pathlib.Path({str(tmp_path)!r})
                running = await Processes(folder).start("p", {argv!r}, cwd=folder, log=folder / "l")
                print(running.pid, flush=True)
                await running.wait()
            asyncio.run(main())
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        [holder[0], str(script)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert exists(pid)
        process.kill()

    until(lambda: not exists(pid), "the orphan is gone")


def test_a_process_dies_when_its_leash_is_killed(tmp_path):
    argv = program(tmp_path, "import time; time.sleep(600)")

    async def work() -> int:
        running = await Processes(tmp_path).start("p", argv, cwd=tmp_path, log=tmp_path / "l")
        running._leash.kill()
        await running.wait()
        return running.pid

    pid = run(work())
    until(lambda: not exists(pid), "the orphan is gone")


def test_the_environment_holds_nothing_of_the_emulators_own(tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "hush")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    argv = program(tmp_path, "import os; print('\\n'.join(os.environ))")

    async def work() -> None:
        running = await Processes(tmp_path).start(
            "p", argv, cwd=tmp_path, log=tmp_path / "l", env={"EXTRA": "1"}
        )
        await running.wait()

    run(work())
    names = set((tmp_path / "l").read_text().split())
    assert {"PATH", "HOME", "TMPDIR", "EXTRA"} <= names
    assert not names & {"AZURE_CLIENT_SECRET", "HTTPS_PROXY", "VIRTUAL_ENV"}


@pytest.mark.parametrize("argv", [["/nowhere/program"], ["no-such-program-at-all"]])
def test_a_program_that_does_not_exist_is_refused_with_its_name(tmp_path, argv):
    async def work() -> None:
        await Processes(tmp_path).start("scorer", argv, cwd=tmp_path, log=tmp_path / "l")

    with pytest.raises(ProcessNotStarted, match=f"'scorer'.*{argv[0]}.*No such file"):
        run(work())


def test_a_missing_folder_is_refused_with_its_path(tmp_path):
    async def work() -> None:
        await Processes(tmp_path).start(
            "scorer", [sys.executable], cwd=tmp_path / "gone", log=tmp_path / "l"
        )

    with pytest.raises(ProcessNotStarted, match="gone does not exist"):
        run(work())


def test_stop_all_ends_everything_and_nothing_new_starts_afterwards(tmp_path):
    argv = program(tmp_path, "import time; time.sleep(600)")

    async def work() -> tuple[list[str], list[int]]:
        processes = Processes(tmp_path)
        started = [
            await processes.start(f"p{k}", argv, cwd=tmp_path, log=tmp_path / "l") for k in range(3)
        ]
        await processes.stop_all()
        with pytest.raises(ProcessNotStarted, match="stopping"):
            await processes.start("late", argv, cwd=tmp_path, log=tmp_path / "l")
        return processes.alive(), [running.pid for running in started]

    alive, pids = run(work())
    assert alive == []
    assert not any(exists(pid) for pid in pids)
