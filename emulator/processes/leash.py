"""Run one program and take it along when whoever started this one is gone.

A program of its own, standard library only, started by ``children.py``:

    python -I -S leash.py LOG ARGV...

The child gets a session of its own, nothing on stdin, and LOG for stdout and stderr. The first line
on our stdout is its pid, or ``!`` and why it could not be started. Then our stdin is the leash: a
``T`` sends SIGTERM to the child's process group; the end of the pipe, which also comes when the
holder is killed by SIGKILL, sends SIGKILL. Our exit code is the child's, or 128 + n if signal n
ended it.
"""

import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CANNOT_START = 127


def die_with_parent() -> None:
    """Ask the kernel (Linux only) to kill this process should the leash itself be killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Ask the kernel (Linux only) to give us what our child's children leave without a parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_orphans() -> None:
    """Kill what left the child's process group (``setsid``) and is ours since its parent ended."""
    while pids := children():
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass  # it has ended


def children() -> list[int]:
    """Our own children; none where the kernel does not tell."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def become(argv: list[str], log: int, report: int) -> None:
    """In the forked child: take the log as output and turn into the program; never returns."""
    try:
        os.setsid()
        die_with_parent()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(report, f"!{argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_START)


def start(argv: list[str], log_path: str) -> int:
    """Fork and exec; report the pid, or the reason why there is none, on stdout."""
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    failed_read, failed_write = os.pipe()  # close-on-exec: end of file without a word is success
    pid = os.fork()
    if pid == 0:
        become(argv, log, failed_write)
    os.close(failed_write)
    failure = os.read(failed_read, 4096)
    os.write(1, failure or f"{pid}\n".encode())
    return pid


def signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (
        ProcessLookupError,
        PermissionError,
    ):  # macOS answers EPERM for a group of zombies
        pass


def follow_orders(pid: int, wake: int) -> None:
    """Pass on what comes down the leash until the child has ended (it is not reaped here)."""
    leash = 0
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        ready, _, _ = select.select([leash, wake] if leash >= 0 else [wake], [], [])
        if wake in ready:
            os.read(wake, 64)
        if leash not in ready:
            continue
        order = os.read(leash, 1)
        signal_group(pid, signal.SIGTERM if order else signal.SIGKILL)
        if not order:
            leash = -1


def main(argv: list[str]) -> int:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    adopt_orphans()
    pid = start(argv[1:], argv[0])
    signal.signal(signal.SIGTERM, lambda *_: signal_group(pid, signal.SIGTERM))
    follow_orders(pid, wake_read)
    signal_group(pid, signal.SIGKILL)  # whatever the program left behind in its group
    _, status = os.waitpid(pid, 0)
    end_orphans()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
