"""``python -m emulator``: serve, print the environment or a table, take a seed."""

import argparse
import asyncio
import json
import socket
import sys
import time
from pathlib import Path

from emulator.configuration import (
    TOKEN_LIFETIME_S,
    Configuration,
    environment,
    exported,
    load_identity,
    signed_in,
)
from emulator.latency import AZURE, PROFILES

POLL_S = 0.1
COMMANDS = ["serve", "env", "operations", "rules"]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(
        prog="python -m emulator",
        description="Azure ML's protocol on loopback, for the unmodified Azure SDK.",
    )
    whole.add_argument("command", nargs="?", default="serve", choices=COMMANDS)
    whole.add_argument("--state", type=Path, default=Path(".emulator"), help="its state folder")
    whole.add_argument("--seed", type=Path, help="a file that `python -m emulator seed` wrote")
    whole.add_argument("--cache", type=Path, help="weights and data, shared; default STATE/cache")
    whole.add_argument("--weights", choices=["tiny", "smollm2"], default="tiny")
    whole.add_argument("--preload", action="store_true", help="start workloads from a warm process")
    whole.add_argument("--profile", choices=sorted(PROFILES), default="fast", help="latencies")
    whole.add_argument("--time-scale", type=amount, default=1.0, help="0.01: a minute in 0.6 s")
    whole.add_argument(
        "--latency", action="append", default=[], metavar="OPERATION=SECONDS", type=latency
    )
    whole.add_argument("--event-webhook", metavar="URL", help="gets run-status events")
    whole.add_argument("--allow-host", action="append", default=[], help="the proxy passes it on")
    whole.add_argument("--deny", action="append", default=[], help="an action the caller lacks")
    whole.add_argument(
        "--token-lifetime", type=amount, default=TOKEN_LIFETIME_S, help="seconds a token is valid"
    )
    whole.add_argument(
        "--history-page", type=int, default=100, help="runs on a page of the run history"
    )
    whole.add_argument(
        "--verify-answers", action="store_true", help="hold every answer against its description"
    )
    whole.add_argument(
        "--wait", type=amount, default=0.0, help="of env: seconds that the emulator may need"
    )
    whole.add_argument("--format", choices=["export", "json"], default="export", help="of env")
    whole.add_argument(
        "--identity",
        choices=["managed", "secret", "certificate", "federated"],
        default="managed",
        help="of env: who signs in, and how",
    )
    return whole


def latency(text: str) -> tuple[str, float]:
    """Read ``deployment.create=2.5``."""
    name, _, seconds = text.partition("=")
    if name not in AZURE:
        raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(AZURE)}")
    return name, amount(seconds)


def amount(text: str) -> float:
    """Read a number that is not negative."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 up")
    return number


def main() -> int:
    """Do what the command line says; the exit code."""
    if sys.argv[1:2] == ["seed"]:
        from emulator import seeding

        return seeding.main(sys.argv[2:])
    given = parser().parse_args()
    if given.command == "operations":
        from emulator.operations_table import table

        print(table())
        return 0
    if given.command == "rules":
        from emulator.protocol import rules

        print(rules.table())
        return 0
    if given.command == "env":
        return print_environment(given.state, given.format, given.identity, given.wait)
    return serve(given)


def environment_as(config: Configuration, who: str) -> dict[str, str]:
    """The environment of who signs in so; writes the file that a credential reads."""
    from emulator.services.identity import principal

    if who == "managed":
        return environment(config)
    if who == "certificate":
        return signed_in(config, who, principal.certificate_file(config))
    if who == "federated":
        return signed_in(config, who, principal.workload_token_file(config, time.time()))
    return signed_in(config, who, None)


def print_environment(state: Path, how: str, who: str, wait_s: float) -> int:
    """Print the variables that point the Azure SDK at the emulator of this state folder."""
    state = state.resolve()
    if wait_s and not answers(state, wait_s):
        print(f"No emulator of {state} has answered in {wait_s:g} s.", file=sys.stderr)
        return 1
    if not (state / "identity.json").exists():
        print(f"There is no emulator state in {state}. Start one first.", file=sys.stderr)
        return 1
    values = environment_as(Configuration(state, state / "cache", load_identity(state)), who)
    print(json.dumps(values, indent=1) if how == "json" else exported(values))
    return 0


def answers(state: Path, wait_s: float) -> bool:
    """Whether an emulator of this state folder answers before the time is over."""
    end = time.monotonic() + wait_s
    while not _answers(state):
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


def _answers(state: Path) -> bool:
    if not (state / "identity.json").exists():
        return False
    port = load_identity(state).plain_port
    try:
        socket.create_connection(("127.0.0.1", port), timeout=POLL_S).close()
    except OSError:
        return False
    return True


def serve(given: argparse.Namespace) -> int:
    """Run an emulator until it is told to stop."""
    from emulator.catalogue.seed import BrokenSeed
    from emulator.server import Taken
    from emulator.server import serve as run

    state = given.state.resolve()
    config = Configuration(
        state=state,
        cache=(given.cache or state / "cache").resolve(),
        identity=load_identity(state),
        seed=given.seed.resolve() if given.seed else None,
        profile=given.profile,
        time_scale=given.time_scale,
        weights=given.weights,
        preload=given.preload,
        latencies=tuple(given.latency),
        event_webhook=given.event_webhook,
        allowed_hosts=tuple(host.lower() for host in given.allow_host),
        denied_actions=tuple(given.deny),
        token_lifetime_s=given.token_lifetime,
        history_page=given.history_page,
        verify_answers=given.verify_answers,
    )

    try:
        asyncio.run(run(config, tell_ready))
    except (Taken, BrokenSeed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def tell_ready(config: Configuration) -> None:
    """Print the one line that says the emulator answers now."""
    print(
        f"Azure ML emulator ready: cloud {config.cloud}, state {config.state}, "
        f"admin http://127.0.0.1:{config.identity.plain_port}/_emulator/summary. "
        f"Point a shell at it: eval \"$(python -m emulator env --state '{config.state}')\"",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
