"""Graph events: what the reserved types `hearth.graph.*` say, and which of them are sound."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from household.events import LONGEST_KEY
from household.graph.identifiers import is_subject, normalised


class GraphKind(StrEnum):
    """What a graph event says. A snapshot holds their names: new ones stand behind the others."""

    LINK = "link"
    """From this time on an identifier means a subject."""
    UNLINK = "unlink"
    """It means nobody."""
    JOIN = "join"
    """A subject moves into a household."""
    LEAVE = "leave"
    """It moves out, into a household of its own."""
    MERGE = "merge"
    """Two households are one."""
    UNMERGE = "unmerge"
    """What was merged for a cause was not."""
    SPLIT = "split"
    """These subjects move out of a household together."""
    RECYCLE = "recycle"
    """An identifier starts a new life: its next holder starts with nothing."""
    CLOSE = "close"
    """A household ended."""
    CONFIRM = "confirm"
    """A person says that what was quarantined under a cause is right."""


GRAPH_PREFIX = "hearth.graph."

GRAPH_TYPES = {f"{GRAPH_PREFIX}{kind.value}": kind for kind in GraphKind}
"""The reserved event types."""

GRAPH_FIELDS = ("identifier", "subject", "subjects", "household", "other", "cause", "evidence")
"""Texts that graph events carry, and the one number, `probability`."""

PROBABILITY = "probability"
CERTAIN = 1_000_000
"""Probabilities are kept in millionths."""

BETWEEN_SUBJECTS = " "

SUBJECTS_MOST = 64
"""Subjects that one event may name."""

LONGEST_WORD = 256
"""Characters in a cause or an evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSaying:
    """What a graph event says, in the one way in which it is written. Empty: not said."""

    kind: GraphKind
    identifier: str = ""
    subjects: tuple[str, ...] = ()
    """In order of their names."""
    household: str = ""
    other: str = ""
    cause: str = ""
    evidence: str = ""
    probability_ppm: int = CERTAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRow:
    """A graph event at this row of a batch."""

    row: int
    saying: GraphSaying | None
    """None: `wrong` says why it is not sound."""
    wrong: str = ""
    before: GraphSaying | None = None
    """What terms before fold version 5 made of it, if something else: a probability in a text was certain."""
    at: str = ""
    """The household that a field names, also where what the event says is not about it."""
    is_apart: bool = False
    """It is sound, and about what lies in several partitions."""

    def said(self, fold_version: int) -> GraphSaying | None:
        """Return what terms of a fold version make of it; None for nothing sound."""
        return self.before if fold_version < 5 and self.before is not None else self.saying


def saying_of(kind: GraphKind, texts: Mapping[str, str], household: str, probability: float | None) -> GraphSaying:
    """Return what a graph event says.

    Args:
        kind: of the event.
        texts: its fields of GRAPH_FIELDS, as they came.
        household: the household that the event names as its own; a field of that name goes before.
        probability: as it came, None for certain.

    Raises:
        ValueError: it is not sound; the text names what is wrong, and what to write.
    """
    named = texts.get("household", "") or household
    given = tuple(texts.get("subjects", "").split()) or ((texts["subject"],) if texts.get("subject") else ())
    saying = GraphSaying(
        kind=kind,
        identifier=_identifier(texts.get("identifier", "")),
        subjects=tuple(sorted({_subject(one) for one in given})),
        household=_household(named, "household"),
        other=_household(texts.get("other", ""), "other"),
        cause=_word(texts.get("cause", ""), "cause"),
        evidence=_word(texts.get("evidence", ""), "evidence"),
        probability_ppm=_ppm(probability),
    )
    if len(saying.subjects) > SUBJECTS_MOST:
        raise ValueError(f"{len(saying.subjects)} subjects; one event may name {SUBJECTS_MOST}")
    for name in _needed(kind):
        if not getattr(saying, name):
            field = "subject" if name == "subjects" and kind is not GraphKind.SPLIT else name
            raise ValueError(f"{_a(kind)} needs `{field}`")
    if kind in (GraphKind.LINK, GraphKind.JOIN, GraphKind.LEAVE) and len(saying.subjects) > 1:
        raise ValueError(f"{_a(kind)} is about one subject, {len(saying.subjects)} are named")
    if kind in (GraphKind.LINK, GraphKind.UNLINK, GraphKind.RECYCLE) and is_subject(saying.identifier):
        raise ValueError(f"{saying.identifier} is a subject: its own name always means it")
    return _only_what_counts(saying)


def _a(kind: GraphKind) -> str:
    return f"{'an' if kind.value.startswith('u') else 'a'} {kind.value}"


def probability_of(text: str) -> float:
    """Return a probability that came as a text; never a certain one for what is none.

    Raises:
        ValueError: it is no number.
    """
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"probability {text[:40]!r} is no number; write one between 0 and 1") from None


def _needed(kind: GraphKind) -> tuple[str, ...]:
    match kind:
        case GraphKind.LINK:
            return "identifier", "subjects"
        case GraphKind.UNLINK | GraphKind.RECYCLE:
            return ("identifier",)
        case GraphKind.JOIN:
            return "subjects", "household"
        case GraphKind.LEAVE:
            return ("subjects",)
        case GraphKind.MERGE:
            return "household", "other"
        case GraphKind.UNMERGE | GraphKind.CONFIRM:
            return ("cause",)
        case GraphKind.SPLIT:
            return "household", "subjects"
        case GraphKind.CLOSE:
            return ("household",)
        case _:
            assert_never(kind)


def _only_what_counts(saying: GraphSaying) -> GraphSaying:
    """Leave out what an event of its kind has no use for: it would only tie together what it does not."""
    kept = {name: getattr(saying, name) for name in (*_needed(saying.kind), "cause", "evidence")}
    if saying.kind is GraphKind.LINK:
        kept["probability_ppm"] = saying.probability_ppm
    return GraphSaying(kind=saying.kind, **kept)


def _identifier(text: str) -> str:
    if not text:
        return ""
    found = normalised(text)
    if found is None:
        raise ValueError(f"identifier {text!r} is not kind:value, for example msisdn:+447700900123")
    return found


def _subject(text: str) -> str:
    found = normalised(text)
    if found is None or not is_subject(found) or BETWEEN_SUBJECTS in found:
        raise ValueError(f"subject {text!r} is neither member:name nor line:name")
    return found


def _household(text: str, name: str) -> str:
    if len(text.encode(errors="surrogatepass")) > LONGEST_KEY or "\0" in text:
        raise ValueError(f"{name} {text[:40]!r}… is no household's id: at most {LONGEST_KEY} bytes, none of them zero")
    return text


def _word(text: str, name: str) -> str:
    if len(text) > LONGEST_WORD:
        raise ValueError(f"{name} has {len(text)} characters; at most {LONGEST_WORD}")
    return text


def _ppm(probability: float | None) -> int:
    if probability is None:
        return CERTAIN
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability {probability} is not between 0 and 1")
    return round(probability * CERTAIN)
