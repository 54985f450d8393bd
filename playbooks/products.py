"""The section `products`: which lines hold what. Each product is kept as a feature, each family asked for as a segment.

`household.lines_with_<product>` counts the lines that hold one; `segment.has_<family>` is true while any product of the
family is held, be it in a bundle that spans several. Both are written for the playbook, as if they stood in it.
"""

from dataclasses import dataclass

from household.plan import Feature, FieldKind, Product
from playbooks.diagnostics import suggestion
from playbooks.reading import Reader, is_name
from playbooks.vocabulary import Vocabulary
from written.problems import Place, Problems
from written.yaml_tree import Entry, Listing, Node, Scalar, YamlMapping

LINES_MOST = 4
"""Of a product, unless the playbook says otherwise; each takes 16 bytes of every household."""

LINES_MOST_MAX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenProducts:
    """What the section says, as entries of the sections `features` and `segments`."""

    families_by_name: dict[str, tuple[str, ...]]
    features: tuple[Entry, ...] = ()
    segments: tuple[Entry, ...] = ()

    def products(self, features: tuple[Feature, ...]) -> tuple[Product, ...]:
        """Return the products, once their features have places."""
        places = {feature.name: index for index, feature in enumerate(features)}
        return tuple(
            Product(name=name, families=families, feature=places[_feature_name(name)])
            for name, families in self.families_by_name.items()
            if _feature_name(name) in places
        )


def _feature_name(product: str) -> str:
    return f"household.lines_with_{product}"


def read_products(
    top: Reader, vocabulary: Vocabulary, families: tuple[str, ...], problems: Problems
) -> WrittenProducts:
    """Read the section."""
    reader = top.reader("products", "the section 'products'")
    if reader is None:
        return WrittenProducts(families_by_name={})
    events, off_events = (reader.node(key, required=True) for key in ("events", "off_events"))
    field = _field(reader, vocabulary, problems)
    line = reader.scalar("line", required=True)
    most = reader.whole("lines", LINES_MOST, least=1, most=LINES_MOST_MAX)
    found = {
        entry.key: of
        for entry in reader.entries("held")
        if (of := _families_of(entry, vocabulary, field, families, problems))
    }
    if not reader.has("held"):
        problems.add(reader.place, f"{reader.what} names no product", "add 'held:', with the family of each product")
    reader.finish()
    if events is None or off_events is None or line is None or field is None:
        return WrittenProducts(families_by_name={})
    place = reader.place
    return WrittenProducts(
        families_by_name=found,
        features=tuple(
            _feature(name, place, events=events, off_events=off_events, field=field, line=line, most=most)
            for name in found
        ),
        segments=tuple(
            Entry(f"has_{family}", place, _scalar(place, " || ".join(f"{_feature_name(one)} >= 1" for one in held)))
            for family in families
            if (held := [name for name, of in found.items() if family in of])
        ),
    )


def _field(reader: Reader, vocabulary: Vocabulary, problems: Problems) -> Scalar | None:
    field = reader.scalar("field", required=True)
    if field is None or field.text in vocabulary.wrong_fields:
        return None
    index = vocabulary.field_index.get(field.text)
    if index is None:
        right = suggestion(field.text, vocabulary.field_index, what="fields")
        problems.add(field.place, f"field '{field.text}' is not defined", right)
        return None
    if vocabulary.fields[index].kind is not FieldKind.ENUM:
        wrong = f"field '{field.text}', which is to name products, lists none"
        problems.add(field.place, wrong, f"list them: {field.text}: [mobile, broadband]")
        return None
    return field


def _families_of(
    entry: Entry, vocabulary: Vocabulary, field: Scalar | None, families: tuple[str, ...], problems: Problems
) -> tuple[str, ...]:
    """Return the families of a product; none if something is wrong with it, which is reported."""
    known = () if field is None else vocabulary.fields[vocabulary.field_index[field.text]].values
    if field is not None and entry.key not in known:
        right = suggestion(entry.key, known, what=f"values of '{field.text}'")
        problems.add(entry.place, f"product '{entry.key}' is no value of field '{field.text}'", right)
        return ()
    written = entry.value.items if isinstance(entry.value, Listing) else (entry.value,)
    found: dict[str, None] = {}
    for one in written:
        name = one.text if isinstance(one, Scalar) else ""
        if name not in families:
            right = suggestion(name, families, what="families") if name else "write a family, or a list of families"
            problems.add(one.place, f"family '{name}' of product '{entry.key}' is not defined", right)
            return ()
        found[name] = None
    return tuple(found) if is_name(entry.key) else ()


def _feature(
    product: str, place: Place, *, events: Node, off_events: Node, field: Scalar, line: Scalar, most: int
) -> Entry:
    said = {
        "kind": _scalar(place, "lines_holding"),
        "events": events,
        "off_events": off_events,
        "where": _scalar(place, f"event.{field.text} == '{product}'"),
        "field": line,
        "keep": _scalar(place, str(most)),
    }
    return Entry(
        _feature_name(product), place, YamlMapping(place, tuple(Entry(key, place, one) for key, one in said.items()))
    )


def _scalar(place: Place, text: str) -> Scalar:
    return Scalar(place=place, text=text, quoted=True, raw=text)
