"""The section `models`: which model of the registry gives which term of a value.

Whether the registry has such a model is not asked here: until it has a champion, the playbook counts.
"""

import re

from household.plan import TermModels, ValueTerm
from playbooks.reading import Reader, describe
from written.problems import Problems
from written.yaml_tree import Scalar, YamlMapping

MODEL_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a folder of the registry may be called."""

_NAME_HELP = "write the name of a model in the registry: letters, digits, dot, dash and underscore, at most 128"


def read_models(top: Reader, problems: Problems) -> TermModels:
    """Read the section; without it a model of acceptance is asked, as ever, and of nothing else."""
    usual = TermModels()
    reader = top.reader("models", "the section 'models'")
    if reader is None:
        return usual
    churn, churn_prior = _churn(reader, problems)
    named = TermModels(
        acceptance=_name(reader, ValueTerm.ACCEPTANCE, problems) or usual.acceptance,
        uplift=_name(reader, ValueTerm.UPLIFT, problems),
        churn=churn,
        value=_name(reader, ValueTerm.VALUE, problems),
        churn_prior=churn_prior,
    )
    reader.finish()
    return _each_its_own(named, reader, problems)


def _churn(reader: Reader, problems: Problems) -> tuple[str, float | None]:
    """Return the model of churn, and the hazard where it tells none: `churn: NAME`, or a mapping of both."""
    node = reader.node(ValueTerm.CHURN.value)
    if not isinstance(node, YamlMapping):
        return _name(reader, ValueTerm.CHURN, problems), None
    inner = Reader(node, "'churn' of the section 'models'", problems, place=reader.key_place(ValueTerm.CHURN.value))
    name = _checked(inner.scalar("model"), problems)
    prior = inner.share("prior") if inner.has("prior") else None
    if not name and prior is None:
        problems.add(inner.place, f"{inner.what} says nothing", "write 'model:' with a name, 'prior:', or both")
    inner.finish()
    return name, prior


def _name(reader: Reader, term: ValueTerm, problems: Problems) -> str:
    return _checked(reader.scalar(term.value), problems)


def _checked(name: Scalar | None, problems: Problems) -> str:
    if name is None:
        return ""
    if not MODEL_NAME_PATTERN.fullmatch(name.text):
        problems.add(name.place, f"{describe(name)} is no name of a model", _NAME_HELP)
        return ""
    return name.text


def _each_its_own(models: TermModels, reader: Reader, problems: Problems) -> TermModels:
    """Report a model that two terms name: it is trained to give one of them, and means something else by the other."""
    seen: dict[str, ValueTerm] = {}
    for term, name in models.named:
        if name in seen:
            usual = "" if reader.has(seen[name].value) else " (which it gives unless another is named)"
            problems.add(
                reader.value_place(term.value),
                f"model '{name}' is to give both '{seen[name]}'{usual} and '{term}'",
                f"a model gives one term: train one for '{term}' and write its name",
            )
        seen.setdefault(name, term)
    return models
