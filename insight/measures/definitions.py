"""What the events of a playbook mean to whoever measures: products, revenue, use, wallet, renewal, resolution.

A file of its own beside the playbook, so that another family, category or source is a line in it and appears in all
figures. What a file says nothing about cannot be computed, and is told so; so is an event that never came.
"""

import importlib.resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from written.problems import Problems, WritingInvalid
from written.yaml_tree import Listing, Node, Nothing, Scalar, YamlMapping, parse

PPM = 1_000_000
DAY_US = 86_400_000_000
_UNIT_US = {"m": 60_000_000, "h": 3_600_000_000, "d": DAY_US}


class DefinitionsInvalid(Exception):
    """The definitions cannot be used; says where and why."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _span_us(value: Any) -> Any:
    if isinstance(value, str) and value[:-1].isdigit() and value[-1:] in _UNIT_US:
        return int(value[:-1]) * _UNIT_US[value[-1]]
    raise ValueError(f"{value!r} is no span of time; write it like 7d")


def _share_ppm(value: Any) -> Any:
    try:
        share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except (ValueError, AttributeError):
        share = -1.0
    if not 0 < share <= 1:
        raise ValueError(f"{value!r} is no share; write it like 5%")
    return round(share * PPM)


_Types = Annotated[tuple[str, ...], BeforeValidator(_listed)]
_Span = Annotated[int, BeforeValidator(_span_us)]
_Share = Annotated[int, BeforeValidator(_share_ppm)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Products(_Part):
    """Products that are held from the one event until the other."""

    held: str
    ended: str
    product: str = ""
    """Field that says which; empty where there is one only."""
    families: dict[str, str] = Field(default_factory=dict)
    """By product."""
    family: str = ""
    """Of all, where no field says which."""
    lines: tuple[str, ...] = ()
    """Products of which each is a line."""
    line: str = ""
    """Field that says which line holds it: another line's is another one. Without a value the household as such."""
    of: Literal["household", "member"] = "household"
    """Who holds it: another member's is another one."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.product) == bool(self.family):
            raise ValueError("write either `family`, or `product` and `families`")
        unknown = set(self.lines) - set(self.families)
        if unknown:
            raise ValueError(f"`lines` names {sorted(unknown)[0]!r}, which `families` does not")
        return self


class RevenueSource(_Part):
    """What is earned by some events."""

    events: _Types
    amount: str
    category: str
    share: _Share = PPM
    """Parts per million of the amount that are ours; what is left of a minor unit is the partner's."""
    margin: _Share | None = None
    """Parts per million of what is ours that are left once it is delivered; None: nobody says."""


class Refunds(_Part):
    """What is given back of a sale."""

    events: _Types
    amount: str
    of: str
    """Field with the event id of the sale."""


class Use(_Part):
    """Use of one category."""

    events: _Types
    target: int = Field(ge=1)
    """Times in 30 days that are a full habit."""
    half_life: _Span
    weight: int = Field(ge=1)


class Wallet(_Part):
    """Transactions, and what takes them back."""

    transactions: _Types
    reversals: _Types
    of: str
    """Field with the event id of the transaction."""


class Renewal(_Part):
    """Contracts that come to an end, and those that are renewed."""

    due: str
    renewed: str


class Resolution(_Part):
    """Cases that are opened and resolved."""

    opened: str
    resolved: str
    case: str = ""
    """Field that both carry; empty or absent: the household's next one."""


class Named(_Part):
    """Who answers for a journey, and for what."""

    owner: str
    kpi: str
    """What it is to move, such as K6."""
    channels: dict[str, str] = Field(default_factory=dict)
    """Who answers for each channel it speaks on."""


class Costs(_Part):
    """What is spent besides what the playbook says of channels and offers."""

    rewards: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """By offer: minor units that it costs once it is accepted."""


class Definitions(_Part):
    """All of it."""

    products: tuple[Products, ...] = ()
    revenue: tuple[RevenueSource, ...] = ()
    refunds: tuple[Refunds, ...] = ()
    uses: dict[str, Use] = Field(default_factory=dict)
    """By category."""
    wallet: Wallet | None = None
    taken_up: dict[str, _Types] = Field(default_factory=dict)
    """By family: events besides coming to hold a product of it."""
    renewal: Renewal | None = None
    resolution: Resolution | None = None
    costs: Costs = Field(default_factory=Costs)
    journeys: dict[str, Named] = Field(default_factory=dict)
    """Who answers for each journey; `hearth readiness` asks for it before a launch."""

    @property
    def types(self) -> frozenset[str]:
        """Every event type that is asked for."""
        found = {name for one in self.products for name in (one.held, one.ended)}
        found.update(name for one in self.revenue for name in one.events)
        found.update(name for one in self.refunds for name in one.events)
        found.update(name for one in self.uses.values() for name in one.events)
        if self.wallet is not None:
            found.update((*self.wallet.transactions, *self.wallet.reversals))
        for taken in self.taken_up.values():
            found.update(taken)
        if self.renewal is not None:
            found.update((self.renewal.due, self.renewal.renewed))
        if self.resolution is not None:
            found.update((self.resolution.opened, self.resolution.resolved))
        return frozenset(found)

    @property
    def mere_uses(self) -> frozenset[str]:
        """Event types that nothing but the categories of `uses` asks for."""
        used = frozenset(name for one in self.uses.values() for name in one.events)
        return used - self.model_copy(update={"uses": {}}).types

    @property
    def amounts(self) -> dict[str, str]:
        """The field with the amount, of each event type that must have one."""
        sold = {name: one.amount for one in self.revenue for name in one.events}
        return sold | {name: one.amount for one in self.refunds for name in one.events}

    @property
    def texts(self) -> frozenset[str]:
        """Fields whose text is read."""
        found = {name for one in self.products for name in (one.product, one.line) if name}
        found |= {one.of for one in self.refunds}
        found |= {self.wallet.of} if self.wallet is not None else set()
        return frozenset(found | ({self.resolution.case} - {""} if self.resolution is not None else set()))

    @property
    def families(self) -> tuple[str, ...]:
        """Families that a product can be of."""
        named = {family for one in self.products for family in (*one.families.values(), one.family) if family}
        return tuple(sorted(named))


def read_definitions(file: Path | None = None) -> Definitions:
    """Return the definitions of a file; by default those for the playbook that ships.

    Raises:
        DefinitionsInvalid: they cannot be used; says which file, what and where.
    """
    if file is None:
        raw, name = importlib.resources.files("insight.measures").joinpath("telco.yaml").read_bytes(), "telco.yaml"
    else:
        name = str(file)
        try:
            raw = file.read_bytes()
        except OSError as failed:
            raise DefinitionsInvalid(f"{file} cannot be read: {failed.strerror or failed}") from failed
    problems = Problems()
    node = parse(raw, name, problems, example="products:", follows_references=True)
    if node is None or problems:
        raise DefinitionsInvalid(str(WritingInvalid(problems.in_reading_order())))
    try:
        return Definitions.model_validate(_plain(node))
    except ValidationError as wrong:
        told = (f"{name}: {'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in wrong.errors())
        raise DefinitionsInvalid("\n".join(told)) from wrong


def _plain(node: Node) -> Any:
    match node:
        case YamlMapping():
            return {entry.key: _plain(entry.value) for entry in node.entries}
        case Listing():
            return [_plain(item) for item in node.items]
        case Scalar():
            return node.text
        case Nothing():
            return None
