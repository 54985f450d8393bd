"""The shipped plan, a small town, and a stand-in for Hearth that offers what the plan names."""

import pytest

from household.plan import Plan
from loadtest.shipped import SHIPPED_PLAYBOOK
from loadtest.town import MONDAY_US, Town
from playbooks.compiler import compile_playbook
from tests.loadtest.fake_hearth import FakeHearth, Faults


@pytest.fixture(scope="session")
def plan() -> Plan:
    return compile_playbook(SHIPPED_PLAYBOOK)


@pytest.fixture(scope="session")
def town(plan: Plan) -> Town:
    return Town(seed=3, households=150, start_us=MONDAY_US, days=2, plan=plan)


@pytest.fixture(scope="session")
def hamlet(plan: Plan) -> Town:
    """Small enough to be driven many times."""
    return Town(seed=4, households=40, start_us=MONDAY_US, days=1, plan=plan)


@pytest.fixture
def hearth_of(plan: Plan):
    """Make a stand-in that offers the plan's offers in turn, with the given faults."""

    def make(faults: Faults | None = None) -> FakeHearth:
        return FakeHearth(
            channels=tuple(channel.name for channel in plan.channels),
            offers=("wallet_start", "content_start", "fibre_start", "second_line", "security_kit"),
            families={offer.name: offer.family for offer in plan.offers},
            counting={
                "member.app_sessions_30d": "app.session_started",
                "member.balance_checks_7d": "app.balance_check",
            },
            faults=faults or Faults(),
        )

    return make
