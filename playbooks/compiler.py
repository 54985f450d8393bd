"""How a playbook becomes a plan: read the sections in the order in which they refer to each other, report everything.

compile_playbook(path) -> Plan            raises PlaybookInvalid with all problems
check(path) -> (Problem, …)               the same, as a value
examine(path) -> Examined                 the same, with what is hardly meant though it compiles
summary(plan) -> Summary                  what a plan holds, for people
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from household.plan import Plan, PlanVersion
from playbooks.budgets import read_budgets
from playbooks.changed import check_changes
from playbooks.conditions import Conditions
from playbooks.contact_rules import RuleSetting
from playbooks.diagnostics import PlaybookInvalid
from playbooks.experiments import read_experiments
from playbooks.features import read_features
from playbooks.graph import read_graph
from playbooks.inventory import read_inventory
from playbooks.journeys import Journeys
from playbooks.marked import check_marked, read_marked
from playbooks.models import read_models
from playbooks.offers import Offers, Setting, read_offers
from playbooks.policy import read_arbitration, read_channels, read_contact_policy, read_families, read_heading
from playbooks.products import read_products
from playbooks.reading import Reader
from playbooks.remarks import Written
from playbooks.segments import read_segments
from playbooks.sense import remarks_on
from playbooks.source import load
from playbooks.vocabulary import read_vocabulary
from written.problems import Problem, Problems
from written.yaml_tree import YamlMapping

TELCO = Path(__file__).parent / "telco"
"""The playbook we ship."""


def compile_playbook(path: Path | str) -> Plan:
    """Return the plan of a playbook, a YAML file or a folder of them.

    The same files give the same plan, to the byte, on every machine.

    Raises:
        PlaybookInvalid: with everything that is wrong, each with file, line, column and what would be right.
    """
    problems = Problems()
    compiled = _compile(Path(path), problems)
    if problems or compiled is None:
        raise PlaybookInvalid(problems.in_reading_order())
    return compiled.plan


def check(path: Path | str) -> tuple[Problem, ...]:
    """Return everything that is wrong with a playbook, in reading order; nothing if it compiles."""
    problems = Problems()
    _compile(Path(path), problems)
    return problems.in_reading_order()


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """All there is to say of a playbook."""

    plan: Plan | None
    """None if there are problems."""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    """What compiles and is still hardly meant."""
    information: tuple[Problem, ...] = ()
    """What may well be meant, and is worth knowing."""


def examine(path: Path | str, *, before: Plan | None = None) -> Examined:
    """Return everything that is wrong with a playbook, or else its plan and what makes one wonder, in reading order.

    Args:
        path: its folder or file.
        before: the plan in force that it is to follow; then also what it cannot do with who is inside a journey.
    """
    problems = Problems()
    compiled = _compile(Path(path), problems)
    if compiled is not None and not problems and before is not None and before.name == compiled.plan.name:
        check_changes(compiled.plan, before, Written(compiled.tree), problems)
    if problems or compiled is None:
        return Examined(plan=None, problems=problems.in_reading_order())
    remarks = remarks_on(compiled.plan, compiled.tree, compiled.offers)
    return Examined(
        plan=compiled.plan,
        warnings=remarks.warnings.in_reading_order(),
        information=remarks.information.in_reading_order(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    """A plan, and what it was compiled from."""

    plan: Plan
    tree: YamlMapping
    offers: Offers


def _compile(path: Path, problems: Problems) -> _Compiled | None:
    tree = load(path, problems)
    if problems:
        # A file that cannot be read would make every name in it look undefined.
        return None
    top = Reader(tree, "a playbook", problems)
    heading = read_heading(top, problems)
    vocabulary = read_vocabulary(top, problems)
    conditions = Conditions(vocabulary, problems)
    families = read_families(top, problems)
    products = read_products(top, vocabulary, families, problems)
    features, windows = read_features(top, vocabulary, conditions, problems, of_products=products.features)
    segments = read_segments(top, conditions, problems, of_products=products.segments)
    channels = read_channels(top, conditions, features, heading.currency, problems)
    inventory = read_inventory(top, problems)
    setting = Setting(
        vocabulary=vocabulary,
        conditions=conditions,
        segments=segments,
        channels=channels,
        families=families,
        items=inventory,
        currency=heading.currency,
    )
    offers = read_offers(top, setting, problems)
    journeys = Journeys(
        vocabulary=vocabulary,
        conditions=conditions,
        channels=channels,
        families=families,
        offers=offers,
        problems=problems,
    ).read(top)
    rule_setting = RuleSetting(
        channels=channels,
        families=families,
        offers=tuple(offers.offers),
        journeys=journeys,
        event_types=tuple(vocabulary.events),
        conditions=conditions,
        currency=heading.currency,
    )
    policy = read_contact_policy(top, rule_setting, features, heading.time_zone, problems)
    arbitration = read_arbitration(top, heading.name)
    budgets = read_budgets(top, rule_setting, problems)
    experiments = read_experiments(top, journeys, offers, arbitration.salt, problems)
    graph = read_graph(top, problems)
    models = read_models(top, problems)
    marked = read_marked(top, problems)
    top.finish()
    plan = Plan(
        name=heading.name,
        currency=heading.currency,
        fields=tuple(vocabulary.fields),
        event_types=tuple(vocabulary.events),
        programs=tuple(conditions.programs),
        windows=windows,
        features=features,
        segments=segments,
        channels=channels,
        families=families,
        offers=tuple(offers.offers),
        journeys=journeys,
        policy=policy,
        arbitration=arbitration,
        clock=heading.clock,
        graph=graph,
        experiments=experiments,
        budgets=budgets,
        products=products.products(features),
        models=models,
        inventory=inventory,
    )
    if not problems:
        check_marked(plan, marked, offers, Written(tree), problems)
    return _Compiled(plan=plan, tree=tree, offers=offers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a plan holds."""

    name: str
    version: PlanVersion
    counts: tuple[tuple[str, int], ...]
    """Parts of the playbook and how many of each."""
    features_by_kind: tuple[tuple[str, int], ...]
    offers_by_family: tuple[tuple[str, int], ...]

    def lines(self) -> tuple[str, ...]:
        """Return the summary as lines of text."""
        return (
            f"playbook {self.name}, version {self.version}",
            ", ".join(f"{count} {part}" for part, count in self.counts),
            "features: " + (", ".join(f"{count} {kind}" for kind, count in self.features_by_kind) or "none"),
            "offers: " + (", ".join(f"{count} {family}" for family, count in self.offers_by_family) or "none"),
        )


def summary(plan: Plan) -> Summary:
    """Return what a plan holds, for `hearth playbook check`."""
    kinds = Counter(str(feature.kind) for feature in plan.features)
    families = Counter(offer.family for offer in plan.offers)
    return Summary(
        name=plan.name,
        version=plan.version,
        counts=(
            ("event types", len(plan.event_types)),
            ("fields", len(plan.fields)),
            ("features", len(plan.features)),
            ("windows", len(plan.windows)),
            ("segments", len(plan.segments)),
            ("channels", len(plan.channels)),
            ("families", len(plan.families)),
            ("offers", len(plan.offers)),
            ("treatments", sum(len(offer.treatments) for offer in plan.offers)),
            ("journeys", len(plan.journeys)),
            *([("experiments", len(plan.experiments))] if plan.experiments else []),
            *([("budgets", len(plan.budgets))] if plan.budgets else []),
            *([("products", len(plan.products))] if plan.products else []),
            *([("items", len(plan.inventory))] if plan.inventory else []),
        ),
        features_by_kind=tuple(sorted(kinds.items())),
        offers_by_family=tuple((family, families[family]) for family in plan.families),
    )
