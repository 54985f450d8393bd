"""Laws: decisions of one group never overdraw a budget together; a replay of the log has its prices, earmarks and
counts of what was shown; what is explained adds up; what lines hold is computed for the household they are of.
"""

import asyncio
from pathlib import Path

from actors.partition.answers import household_message
from household.digest import state_digest
from household.plan import Plan
from household.tables.budgets import BUDGETS
from household.tables.shown import SHOWN
from playbooks.compiler import compile_playbook
from tests.actors.harness import MONDAY, in_loop, replayed, running, signal
from tests.playbooks.test_products import PLAYBOOK

BUDGET = 3


def trial(folder: Path) -> Plan:
    """Return a playbook in which a gift is worth most, and there are three of them."""
    text = PLAYBOOK.replace(
        "kind: reward, family: content, prior: 5%, margin: 3", "kind: reward, family: content, prior: 50%, margin: 9"
    )
    text = text.replace("actions: 200, window: day, step: 20%", f"actions: {BUDGET}, window: week, step: 100%")
    path = folder / "trial.yaml"
    path.write_text(text, encoding="utf-8")
    return compile_playbook(path)


def holds(number: int, household: str, product: str, line: str = "", *, kind: str = "taken"):
    fields = {"product": product} | ({"line": line} if line else {})
    return signal(f"p{number}", household, kind, MONDAY + number, fields=fields)


@in_loop
async def test_decided_at_once_they_get_no_more_than_there_is_and_the_log_tells_it(tmp_path: Path):
    async with running(tmp_path, plan=trial(tmp_path)) as hearth:
        keys = [f"h{number}" for number in range(8)]
        await hearth.ingest(*(signal(f"v{key}", key, "visit", MONDAY) for key in keys))
        # While the first group is written the others wait, and are formed together.
        answers = await asyncio.gather(*(hearth.decide(key, channel="app") for key in keys))
        given = [answer.action.offer for answer in answers]

        assert sorted(given) == ["films"] * (len(keys) - BUDGET) + ["gift"] * BUDGET
        assert await hearth.in_state(lambda state: state.tables.of(BUDGETS).get("gifts").used) == BUDGET
        assert await hearth.in_state(lambda state: {one.offer: one.count for one in state.tables.of(SHOWN)}) == {
            "films": len(keys) - BUDGET,
            "gift": BUDGET,
        }
        explained = [await hearth.explain(key) for key in keys]
        assert {one.scarce[0].left for one in explained} == {3, 2, 1, 0}
        for one in explained:
            for candidate in one.candidates:
                terms = candidate.terms
                assert candidate.value == terms.gain - terms.cost - sum(price.minor for price in terms.prices)
                if candidate.offer == "gift":
                    assert (list(candidate.vetoes) == ["BUDGET:gifts"]) is (one.scarce[0].left == 0)
        live = await hearth.in_state(state_digest)
    assert state_digest(replayed(tmp_path)) == live


@in_loop
async def test_each_line_counts_for_itself_and_for_the_household_it_is_of(tmp_path: Path):
    async with running(tmp_path, plan=trial(tmp_path)) as hearth:
        await hearth.ingest(
            holds(1, "h1", "sim", "sim-1"),
            holds(2, "h1", "sim", "sim-2"),
            holds(3, "h1", "sim", "sim-1", kind="given_up"),
            holds(4, "h2", "everything", "sim-9"),
            holds(5, "h2", "film"),
        )

        async def held(household: str) -> dict[str, int]:
            return {one.product: one.lines for one in (await hearth.get(household)).products}

        assert await held("h1") == {"sim": 1}
        assert await held("h2") == {"everything": 1, "film": 1}
        assert (await hearth.decide("h1", signal("v1", "h1", "visit", MONDAY), channel="app")).reasons[
            0
        ] == "BEST_VALUE"
        weighed = {one.offer: list(one.vetoes) for one in (await hearth.explain("h1")).candidates}
        assert weighed == {"second": [], "films": [], "gift": []}

        told = {"other": "h2", "cause": "wedding"}
        await hearth.ingest(signal("g1", "h1", "hearth.graph.merge", MONDAY + 6, fields=told))
        for key in ("h1", "h2"):
            assert await held(key) == {"sim": 1, "everything": 1, "film": 1}
        families = {one.product: list(one.families) for one in (await hearth.get("h1")).products}
        assert families["everything"] == ["mobile", "broadband", "content"]
        await hearth.ingest(signal("g2", "h1", "hearth.graph.unmerge", MONDAY + 7, fields={"cause": "wedding"}))
        assert (await held("h1"), await held("h2")) == ({"sim": 1}, {"everything": 1, "film": 1})
        assert await hearth.in_state(lambda state: len(household_message(state, 0, 0).products)) == 1
