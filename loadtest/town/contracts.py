"""Contracts that run out and are renewed, bills that are taken back in part, complaints that are resolved.

What a playbook does not declare of it is left out, so that the town speaks to older ones as before.
"""

import numpy as np

from loadtest.town.page import Floats, Ints, Page
from loadtest.town.rhythm import US_PER_DAY, US_PER_HOUR

DUE_HOUR, REFUND_HOUR = 9, 14
CONTRACT_DAYS = 360
RENEWED = 0.75
"""Share of contracts that are renewed, within `RENEWED_WITHIN_DAYS`."""
RENEWED_WITHIN_DAYS = 14
REFUNDED = 0.01
"""Share of bills that are taken back in part."""
RESOLVED = 0.9
"""Share of complaints that are ever resolved."""
RESOLVED_HOURS_LOG_MEAN, RESOLVED_HOURS_LOG_SD = 3.0, 1.0
"""Of the logarithm of the hours until then: the median is 20."""

DUE, RENEWAL, REFUND = "billing.contract_due", "billing.contract_renewed", "billing.refund"
COMPLAINT, RESOLUTION, CASE = "call_centre.complaint", "call_centre.resolved", "case"


def write_contracts(
    page: Page, draw: np.random.Generator, *, begins_us: int, hour: int, day: int, billed: Ints, bill_minor: Floats
) -> None:
    """Write whose contract runs out on this day, whether it is renewed, and whose bill is taken back in part.

    Args:
        page: of the hour.
        draw: chance of its own.
        begins_us: when the hour begins.
        hour: local hour of the day.
        day: of the town.
        billed: indices of the households that have bills.
        bill_minor: (households,) what a bill says.
    """
    if hour == DUE_HOUR:
        due = billed[billed % CONTRACT_DAYS == day % CONTRACT_DAYS]
        times_us = begins_us + draw.integers(0, US_PER_HOUR, len(due))
        _write(page, DUE, times_us, due)
        stays = draw.random(len(due)) < RENEWED
        later_us = draw.integers(0, RENEWED_WITHIN_DAYS * US_PER_DAY, len(due))
        _write(page, RENEWAL, (times_us + later_us)[stays], due[stays])
    if hour == REFUND_HOUR:
        of_last_days = billed[(billed + 3) % 28 == day % 28]
        back = of_last_days[draw.random(len(of_last_days)) < REFUNDED]
        amounts = np.maximum(np.round(bill_minor[back] * draw.uniform(0.1, 0.5, len(back))), 1.0)
        _write(page, REFUND, begins_us + draw.integers(0, US_PER_HOUR, len(back)), back, amount_minor=amounts)


def write_cases(page: Page, draw: np.random.Generator, *, block: int) -> None:
    """Give the complaints of the page a case each, and write when they are resolved."""
    words = page.vocabulary
    of_complaint = words.plan.event_types[words.event[COMPLAINT]].fields
    if RESOLUTION not in words.event or words.field[CASE] not in {one.field for one in of_complaint}:
        return
    for part in [one for one in page.parts if one.count and one.kinds[0] == words.event[COMPLAINT]]:
        cases = (block * 10_000 + np.arange(part.count)).astype(np.float64)
        part.values[words.field[CASE]] = cases
        hours = draw.lognormal(RESOLVED_HOURS_LOG_MEAN, RESOLVED_HOURS_LOG_SD, part.count)
        is_resolved = draw.random(part.count) < RESOLVED
        members = page.people.first_member[part.households] + part.members
        times_us = part.times_us + (hours * US_PER_HOUR).astype(np.int64)
        page.write(RESOLUTION, times_us[is_resolved], members[is_resolved], case=cases[is_resolved])


def _write(page: Page, event: str, times_us: Ints, households: Ints, **values: Floats) -> None:
    if event in page.vocabulary.event:
        page.write_for_households(event, times_us, households, **values)
