"""The command line: `chargepoint VERB ...`; each verb imports only what it needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from agent.errors import ChargepointError, UsageError
from drivers.contract import DriverError

if TYPE_CHECKING:
    import argparse

DEFAULT_CONFIG = "/etc/chargepoint/charger.yaml"
COMMAND_GROUP = "chargepoint.commands"
VERBS = (
    *("run", "check", "doctor", "probe", "learn", "status", "trace", "queue", "service"),
    "limit",
    "safe-off",
)
EX_CONFIG = 78
WITH_SOCKET = ", or name the console socket of the running station with --socket"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; answers the exit code (78: charger.yaml cannot be used)."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and not words[0].startswith("-") and words[0] not in VERBS:
            return _other(words[0], words[1:])
        if words[:1] == ["--version"]:
            return _version()
        code = _run(words[1]) if _is_plain_run(words) else _obey(words)
        sys.stdout.flush()
        return code
    except (ChargepointError, DriverError) as error:
        print(f"chargepoint: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader left, nothing more to print
        return 1


def _is_plain_run(words: list[str]) -> bool:
    """As the service says it: nothing to parse, and argparse would hold up each start."""
    return len(words) == 2 and words[0] == "run" and not words[1].startswith("-")


def _obey(words: list[str]) -> int:
    arguments = _parsed(words)
    action: Callable[[argparse.Namespace], int] = arguments.action
    return action(arguments)


def _parsed(words: list[str]) -> argparse.Namespace:
    """The file may stand behind the options, too: argparse takes it for left out where another word
    stands before them (`limit 10 --for 30 charger.yaml`)."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(words)
    if len(rest) == 1 and not rest[0].startswith("-") and arguments.config == DEFAULT_CONFIG:
        (arguments.config,) = rest
    elif rest:
        parser.error(f"{' '.join(rest)}: not understood; `{parser.prog} {words[0]} --help`")
    return arguments


def _parser() -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(
        prog="chargepoint", description="OCPP 2.0.1 charging station agent"
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(metavar="VERB", required=True, prog=parser.prog)
    run = _verb(verbs, "run", _run_as_told, "run the station until it is told to stop")
    run.add_argument("--log-level", help="DEBUG, INFO, WARNING or ERROR; else $CHARGEPOINT_LOG")
    _verb(verbs, "check", _in("agent.check", "check"), "name every mistake in charger.yaml")
    probe = _verb(
        verbs, "probe", _in("agent.probe", "probe"), "read every device, say what is wrong"
    )
    probe.add_argument("--watch", action="store_true", help="as a live table, every second")
    probe.add_argument("--json", action="store_true", help="one line of JSON, for benches")
    looks = "look at ports, groups, clock, disk, network; say what to do"
    doctor = _verb(verbs, "doctor", _in("agent.doctor", "doctor"), looks)
    doctor.add_argument("--offline", action="store_true", help="leave the network out")
    doctor.add_argument("--root", default="/", metavar="DIR", help="a board's mounted file system")
    shows = "show a card as its reader sends it and as the CSMS gets it"
    learn = _verb(verbs, "learn", _in("agent.learn", "learn"), shows)
    learn.add_argument("--reader", metavar="NAME", help="only this one, by its name under devices")
    learn.add_argument("--expect", metavar="UID", help="its number at the CSMS, in hex")
    status = _verb(verbs, "status", _status, "what the running station does")
    status.add_argument("--json", action="store_true", help="the answer as JSON")
    status.add_argument("--watch", action="store_true", help="again every second")
    status.add_argument("--socket", help="console socket, when charger.yaml cannot be read")
    follows = "what the station and the CSMS tell each other, live, without secrets"
    trace = _verb(verbs, "trace", _in("agent.trace", "trace"), follows)
    trace.add_argument(
        "--devices", action="store_true", help="the bytes on the lines of the devices instead"
    )
    trace.add_argument("--json", action="store_true", help="a JSON object a line")
    queue = _verb(verbs, "queue", _queue, "messages for the CSMS, a JSON object a line")
    which = queue.add_mutually_exclusive_group()
    which.add_argument("--waiting", action="store_true", help="only those that are to be sent")
    which.add_argument(
        "--set-aside", action="store_true", help="only those that were refused to the end"
    )
    service = _verb(verbs, "service", _service, "a fault that waits for a technician is repaired")
    service.add_argument("--connector", metavar="EVSE/CONNECTOR", help="for example 1/1")
    says = "as a local energy manager: draw no more than this (docs/local-limit.md)"
    limit = _verb(verbs, "limit", _limit, says, "AMPS")
    limit.add_argument("--for", type=float, dest="for_s", metavar="SECONDS", help="void after that")
    limit.add_argument("--evse", type=int, default=0, help="of this one; else all together")
    _verb(verbs, "safe-off", _safe_off, "open every contactor that charger.yaml names")
    return parser


def _verb(
    verbs: Any, name: str, action: Callable[[argparse.Namespace], int], text: str, *before: str
) -> argparse.ArgumentParser:
    """`before`: what has to stand before the file."""
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    for word in before:
        verb.add_argument(word)
    verb.add_argument("config", metavar="CONFIG", nargs="?", default=DEFAULT_CONFIG)
    verb.set_defaults(action=action)
    return verb


def _in(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """The command of a module that is imported only when it is asked for."""

    def action(arguments: argparse.Namespace) -> int:
        from importlib import import_module

        return int(getattr(import_module(module), name)(arguments))

    return action


def _version() -> int:
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"chargepoint {version('chargepoint')}")
    except PackageNotFoundError:
        print("chargepoint (run from the sources, not installed)")
    return 0


def _run_as_told(arguments: argparse.Namespace) -> int:
    return _run(arguments.config, arguments.log_level)


def _run(config: str, log_level: str | None = None) -> int:
    import gc

    gc.disable()  # a start leaves hardly any garbage; looking for it again and again takes long
    try:
        return _started(config, log_level)
    finally:
        gc.enable()


def _started(config: str, log_level: str | None) -> int:
    from agent import log
    from agent.settings_load import load

    loaded = load(config)
    if loaded.settings is None:
        return _become_check(config)
    log.set_up(log_level)
    if loaded.warnings:
        import logging

        for warning in loaded.warnings:
            logging.getLogger("chargepoint").warning("%s", warning)
    from agent import daemon

    return int(daemon.run(loaded.settings))


def _become_check(config: str) -> int:
    """Replaces this process by `check`, which names the mistakes and ends with 78."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "agent.cli", "check", config])
    return EX_CONFIG


def _status(arguments: argparse.Namespace) -> int:
    import time

    from agent import screen

    path = arguments.socket or _places(arguments.config, WITH_SOCKET)[0]
    if not arguments.watch:
        print(_status_text(path, as_json=arguments.json))
        return 0
    while True:
        try:
            text = _status_text(path, as_json=arguments.json)
        except ChargepointError as error:
            text = f"chargepoint: {error}"
        screen.show(text)
        time.sleep(1)


def _queue(arguments: argparse.Namespace) -> int:
    from agent import queue_export

    socket, directory = _places(arguments.config)
    states: tuple[str, ...] = queue_export.STATES
    if arguments.waiting or arguments.set_aside:
        states = (queue_export.WAITING if arguments.waiting else queue_export.SET_ASIDE,)
    for line in queue_export.lines(socket, directory, states):
        print(line)
    return 0


def _service(arguments: argparse.Namespace) -> int:
    """Without --connector: where something waits; with it, that is cleared."""
    from agent.console import ask

    name = arguments.connector
    request = {"cmd": "service"} | ({"connector": name} if name is not None else {})
    answer = ask(_places(arguments.config)[0], request)
    found: dict[str, list[str]] = answer.get("cleared") or answer.get("waiting") or {}
    word = "cleared" if "cleared" in answer else "waits for `chargepoint service --connector`"
    for place, faults in found.items():
        print(f"{place}: {', '.join(faults)}: {word}")
    if not found:
        print("nothing waits for service")
    return 0


def _limit(arguments: argparse.Namespace) -> int:
    """A per phase, or `off`; prints what the station understood."""
    from agent.console import ask

    amps = arguments.AMPS
    try:
        limit_a = None if amps == "off" else float(amps)
    except ValueError:
        raise UsageError(
            f"{amps!r} is no current; write amperes per phase, like 10, or off"
        ) from None
    request = {"cmd": "limit", "limit_a": limit_a, "evse_id": arguments.evse}
    request |= {"source": "command line"}
    request |= {} if arguments.for_s is None else {"for_s": arguments.for_s}
    answer = ask(_places(arguments.config)[0], request)
    place = f"EVSE {arguments.evse}" if arguments.evse else "all EVSEs together"
    most = "no local limit" if limit_a is None else f"at most {limit_a:g} A per phase"
    print(f"{place}: {most}; the next word is due within {_due_s(answer):g} s")
    return 0


def _due_s(answer: dict[str, Any]) -> float:
    return min(float(answer["silent_s"]), float(answer["for_s"] or answer["silent_s"]))


def _places(config: str, way_round: str = "") -> tuple[str, str]:
    """Console socket and data directory of the station; `way_round`: what else helps where the file
    cannot be used."""
    from agent.console import socket_path
    from agent.errors import SettingsError
    from agent.settings_load import load

    settings = load(config).settings
    if settings is None:
        raise SettingsError(f"{config} cannot be used; run `chargepoint check {config}`{way_round}")
    directory = settings.data_directory
    return socket_path(directory, settings.console_socket), directory


def _status_text(path: str, *, as_json: bool) -> str:
    from agent.console import ask

    answer = ask(path, {"cmd": "status"})
    if as_json:
        import json

        return json.dumps(answer, indent=None if not sys.stdout.isatty() else 2)
    from agent.status_table import table

    return table(answer)


def _safe_off(arguments: argparse.Namespace) -> int:
    from agent.safe_off import open_all

    return open_all(arguments.config)


def _other(verb: str, rest: list[str]) -> int:
    """A verb that another installed part brings (the benches)."""
    from importlib.metadata import entry_points

    for entry in entry_points(group=COMMAND_GROUP, name=verb):
        try:
            action = entry.load()
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] != entry.module.split(".")[0]:
                raise
            break
        return int(action(rest) or 0)
    print(f"chargepoint: {_no_such_verb(verb)}", file=sys.stderr)
    return 2


def _no_such_verb(verb: str) -> str:
    import difflib

    near = difflib.get_close_matches(verb, VERBS, n=1)
    if near:
        return f"there is no command {verb!r}; did you mean {near[0]!r}?"
    return (
        f"there is no command {verb!r} here. Commands: {', '.join(VERBS)}. demo and bench come "
        "with the benches, which the board's package leaves out: in the sources run `make venv`, "
        "then .venv/bin/chargepoint"
    )


if __name__ == "__main__":
    sys.exit(main())
