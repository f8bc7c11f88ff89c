"""`chargepoint trace`: what crosses the link to the CSMS, or the lines of the devices, as the
running service tells it."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from agent.console import ConsoleError, follow, socket_path
from agent.probe import settings_of

AGAIN_S = 0.5
"""After the service went away: looked for it so often."""
ARROWS = {"sent": "->", "heard": "<-", "link": "--"}
"""As the station sees it."""


def trace(arguments: argparse.Namespace) -> int:
    """Until it is interrupted."""
    settings = settings_of(arguments.config)
    path = socket_path(settings.data_directory, settings.console_socket)
    for told in told_for_ever(path, {"cmd": "trace", "devices": arguments.devices}):
        print(as_json(told) if arguments.json else line(told), flush=True)
    return 0


def told_for_ever(path: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Over restarts of the service; raises ConsoleError where nothing was ever told."""
    has_begun = False
    said = ""
    while True:
        why = "the service hung up; waiting until it is back (Ctrl-C ends this)"
        try:
            for told in follow(path, request):
                has_begun, said = True, ""
                yield told
        except ConsoleError as error:
            if not has_begun:
                raise
            why = str(error)
        if why != said:
            print(f"chargepoint: {why}", file=sys.stderr, flush=True)
            said = why
        time.sleep(AGAIN_S)


def as_json(told: dict[str, Any]) -> str:
    """What the service said, but that it said it."""
    return json.dumps({name: value for name, value in told.items() if name != "ok"})


def line(told: dict[str, Any]) -> str:
    """`10:20:30.123Z -> Heartbeat 3f2c... {}`: UTC, direction, action, message id, payload; of a
    line of devices its name and the bytes."""
    words = [told.get("time", "")[11:], ARROWS.get(told.get("direction", ""), "??")]
    if "line" in told:
        words += [told["line"], told["bytes"]]
        words += [f"({told['note']})"] if told.get("note") else []
    elif "kind" not in told:
        words.append(str(told.get("text", "")))
    else:
        words += [told.get("action") or "?", told.get("message_id") or "?"]
        words += [] if told["kind"] == "call" else [told["kind"]]
        words.append(json.dumps(told.get("payload"), ensure_ascii=False, separators=(",", ":")))
        words += [f"({told['note']})"] if told.get("note") else []
    return "".join(c for c in " ".join(words) if c.isprintable())
