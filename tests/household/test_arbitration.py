"""The best of several. Laws: a logged propensity is the probability with which that action came first, ties included;
every action worth taking has its share of exploration; the commands that look at many decisions find what is wrong.
"""

from dataclasses import replace

import pytest

from household.deciding.arbitration import first_propensities
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook
from tests.benches import budgets_bench
from tests.benches.arbitration_bench import SIGMAS, TermsTally, draw_firsts, look_at_terms
from tests.household.shop import APP, Shop


def test_what_is_logged_is_how_often_it_comes_first():
    found = draw_firsts(50_000)

    assert max(one.sigmas for one in found) <= SIGMAS
    assert {round(one.propensity, 9) for one in found if one.world == 1} == {round(0.7 / 3 + 0.06, 9), 0.06}
    assert {one.propensity for one in found if one.world == 4} == {0.5}


def test_with_tight_budgets_nearly_all_is_reached_that_could_be_and_none_is_overdrawn():
    assert budgets_bench.look(asks=800, orders=2, partitions=1)


@pytest.mark.parametrize("exploration", [0.0, 0.05, 1.0])
@pytest.mark.parametrize(("count", "tied"), [(1, 1), (2, 1), (2, 2), (7, 3), (50, 1)])
def test_each_has_at_least_its_share_and_all_together_are_one(count, tied, exploration):
    best, each = first_propensities(count, exploration, tied=tied)

    assert tied * best + (count - tied) * each == pytest.approx(1.0)
    assert best >= each >= (exploration / count if count > 1 else 0.0)


def test_terms_of_many_decisions_add_up_and_what_does_not_is_found():
    tally = look_at_terms(compile_playbook(SHIPPED_PLAYBOOK), decisions=200, households=20)
    assert (tally.decisions, tally.wrong) == (200, 0)
    assert tally.weighed > 200 < tally.vetoed

    tally, shop = TermsTally(), Shop()
    shop.signal("app.visit")
    decision = shop.weigh(shop.draft(APP), {2: 0.123, 3: 0.456})
    tally.look(decision)
    assert (tally.decisions, tally.weighed, tally.wrong) == (1, 2, 0)

    first, second = decision.candidates
    assert first.terms is not None
    for wrong in (
        replace(first, value_minor=first.value_minor + 2.0**-40),
        replace(first, terms=first.terms._replace(gain_minor=first.terms.gain_minor + 1.0)),
        replace(first, terms=first.terms._replace(probability=0.9)),
        replace(first, value_minor=None, terms=None),
    ):
        tally = TermsTally()
        tally.look(replace(decision, candidates=(wrong, second)))
        assert tally.wrong == 1
