"""The section `graph`: what is believed of who belongs together without a person's word."""

from household.plan import GraphRules, LinkingRule
from playbooks.reading import Reader, describe
from playbooks.values import share
from written.problems import Problems
from written.yaml_tree import Scalar

MEMBERS_MOST = 1_000
HOUSEHOLDS_MOST = 1_000
ALL_PPM = 1_000_000

_SHARE_HELP = "write how probable it is, between 0 and 1, such as 0.95 or 95%"


def read_graph(top: Reader, problems: Problems) -> GraphRules:
    """Read the section; what it does not say is as usual."""
    usual = GraphRules()
    reader = top.reader("graph", "the section 'graph'")
    if reader is None:
        return usual
    rules = GraphRules(
        members_most=reader.whole("members_most", usual.members_most, least=1, most=MEMBERS_MOST),
        households_most=reader.whole("households_most", usual.households_most, least=1, most=HOUSEHOLDS_MOST),
        seen_within_us=reader.duration_us("seen_within", usual.seen_within_us),
        certain_ppm=_certain_ppm(reader, usual.certain_ppm, problems),
        linking=_linking(reader, problems),
    )
    reader.finish()
    return rules


def _certain_ppm(reader: Reader, usual_ppm: int, problems: Problems) -> int:
    certain_ppm = round(reader.share("certain", usual_ppm / ALL_PPM) * ALL_PPM)
    if certain_ppm == 0:
        wrong = "with 'certain' of the section 'graph' at 0 whatever anybody guesses makes members"
        problems.add(reader.value_place("certain"), wrong, "write a share above 0, such as 0.9")
        return usual_ppm
    return certain_ppm


def _linking(reader: Reader, problems: Problems) -> tuple[LinkingRule, ...]:
    """Read how much each evidence is worth; in the order of their names, which plays no part."""
    found = []
    for entry in reader.entries("linking"):
        probability = share(entry.value.text) if isinstance(entry.value, Scalar) else None
        if probability is None:
            wrong = f"evidence '{entry.key}' of 'linking' is {describe(entry.value)}"
            problems.add(entry.value.place, wrong, _SHARE_HELP)
            continue
        found.append(LinkingRule(evidence=entry.key, probability_ppm=round(probability * ALL_PPM)))
    return tuple(sorted(found, key=lambda one: one.evidence))
