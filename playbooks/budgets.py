"""The section `budgets`: what is scarce over all households, in each window of the operator's calendar."""

from household.plan import Budget, BudgetUnit, Span
from playbooks.contact_rules import MOST_MAX, RuleSetting, read_selector
from playbooks.reading import Reader, check_name
from written.problems import Problems
from written.yaml_tree import Entry

STEP = 0.1
"""Of the amount: used ahead of time, it raises the price from nothing to what the best use is worth."""

SPANS = {Span.DAY, Span.WEEK, Span.MONTH}


def read_budgets(top: Reader, setting: RuleSetting, problems: Problems) -> tuple[Budget, ...]:
    """Read the section."""
    found = (_budget(entry, setting, problems) for entry in top.entries("budgets"))
    return tuple(budget for budget in found if budget is not None)


def _budget(entry: Entry, setting: RuleSetting, problems: Problems) -> Budget | None:
    check_name(entry.key, entry.place, problems)
    reader = Reader(entry.value, f"budget '{entry.key}'", problems, place=entry.place)
    written = [key for key in ("actions", "money") if reader.has(key)]
    if len(written) != 1:
        wrong = f"{reader.what} {'has no amount' if not written else 'has two amounts'}"
        problems.add(entry.place, wrong, "write 'actions:' with a number, or 'money:' with an amount")
    is_money = written == ["money"]
    span = reader.choice("window", Span, required=True) or Span.DAY
    if span not in SPANS:
        wrong = f"'window' of {reader.what} is '{span}'"
        problems.add(reader.value_place("window"), wrong, f"write {', '.join(sorted(SPANS))}")
    step = reader.share("step", STEP)
    if step <= 0.0:
        problems.add(reader.value_place("step"), f"'step' of {reader.what} is 0", "write a share such as 10%")
    budget = Budget(
        name=entry.key,
        of=read_selector(reader, "of", setting),
        unit=BudgetUnit.MONEY if is_money else BudgetUnit.ACTIONS,
        amount=reader.money_minor("money", setting.currency)
        if is_money
        else reader.whole("actions", 0, least=0, most=MOST_MAX),
        span=span,
        step=step or STEP,
    )
    reader.finish()
    return budget if len(written) == 1 else None
