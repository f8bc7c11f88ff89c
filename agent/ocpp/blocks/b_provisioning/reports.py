"""Reports of the device model (B07)."""

from agent.core.events import Now
from agent.ocpp.block import Answer, Payload, Stream
from agent.ocpp.device_model import CONFIGURATION, FULL
from agent.ocpp.messages import format_time
from agent.ocpp.view import View

ROWS_PER_REPORT = 16
"""Rows of a report in one NotifyReport, about 6 kB."""


def get_base_report(payload: Payload, view: View, now: Now) -> Answer:
    """B07; the summary is not offered (B07.FR.02, FR.12)."""
    if payload["reportBase"] not in (FULL, CONFIGURATION):
        return Answer({"status": "NotSupported", "statusInfo": {"reasonCode": "UnsupportedParam"}})
    return Answer(
        {"status": "Accepted"},
        stream=_report(payload["requestId"], payload["reportBase"], view, now),
    )


def _report(request_id: int, report_base: str, view: View, now: Now) -> Stream:
    """Parts of a report, each made when it is sent; the cursor is its seqNo (B07.FR.10)."""
    entries = view.variables.entries(report_base)

    def next_part(cursor: int) -> tuple[str, Payload, int | None]:
        begin, end = cursor * ROWS_PER_REPORT, (cursor + 1) * ROWS_PER_REPORT
        is_last = end >= len(entries)
        part: Payload = {
            "requestId": request_id,
            "generatedAt": format_time(now.utc_s()),
            "seqNo": cursor,
            "tbc": not is_last,
        }
        rows = [view.variables.report(entry, view, now) for entry in entries[begin:end]]
        if rows:
            part["reportData"] = rows
        return "NotifyReport", part, None if is_last else cursor + 1

    return Stream(0, next_part)
