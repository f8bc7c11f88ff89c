"""Whether a meter's counter may be believed."""

import math

from drivers.contract import MeterReading
from drivers.meters.register_map import RegisterMap


def doubt(before: MeterReading | None, after: MeterReading, model: RegisterMap) -> str:
    """Why `after` cannot follow `before` on the same meter; empty when it can."""
    if not math.isfinite(after.energy_wh) or after.energy_wh < 0:
        return f"the counter reads {after.energy_wh:g} Wh"
    if before is None:
        return ""
    risen_wh = after.energy_wh - before.energy_wh
    if risen_wh < 0:
        return f"the counter fell from {before.energy_wh:.0f} to {after.energy_wh:.0f} Wh"
    passed_s = after.at_s - before.at_s + model.refresh_s
    if risen_wh > model.max_power_w * passed_s / 3600 + after.step_wh:
        return (
            f"the counter rose from {before.energy_wh:.0f} to {after.energy_wh:.0f} Wh "
            f"in {passed_s:.1f} s"
        )
    return ""
