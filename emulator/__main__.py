"""``python -m emulator``: serve, print the environment, or print the table of routes."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from emulator.configuration import (
    TOKEN_LIFETIME_S,
    Configuration,
    environment,
    exported,
    load_identity,
)
from emulator.latency import AZURE, PROFILES


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(
        prog="python -m emulator",
        description="Azure ML's protocol on loopback, for the unmodified Azure SDK.",
    )
    whole.add_argument("command", nargs="?", default="serve", choices=["serve", "env", "routes"])
    whole.add_argument("--state", type=Path, default=Path(".emulator"), help="its state folder")
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
    whole.add_argument("--format", choices=["export", "json"], default="export", help="of env")
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
    given = parser().parse_args()
    if given.command == "routes":
        from emulator.route_table import table

        print(table())
        return 0
    if given.command == "env":
        return print_environment(given.state, given.format)
    return serve(given)


def print_environment(state: Path, how: str) -> int:
    """Print the variables that point the Azure SDK at the emulator of this state folder."""
    state = state.resolve()
    if not (state / "identity.json").exists():
        print(f"There is no emulator state in {state}. Start one first.", file=sys.stderr)
        return 1
    values = environment(Configuration(state, state / "cache", load_identity(state)))
    print(json.dumps(values, indent=1) if how == "json" else exported(values))
    return 0


def serve(given: argparse.Namespace) -> int:
    """Run an emulator until it is told to stop."""
    from emulator.server import Taken
    from emulator.server import serve as run

    state = given.state.resolve()
    config = Configuration(
        state=state,
        cache=(given.cache or state / "cache").resolve(),
        identity=load_identity(state),
        profile=given.profile,
        time_scale=given.time_scale,
        weights=given.weights,
        preload=given.preload,
        latencies=tuple(given.latency),
        event_webhook=given.event_webhook,
        allowed_hosts=tuple(host.lower() for host in given.allow_host),
        denied_actions=tuple(given.deny),
        token_lifetime_s=given.token_lifetime,
    )

    try:
        asyncio.run(run(config, tell_ready))
    except Taken as error:
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
