"""The one list of a partition's tables. To add one: declare it in a file of its own and name it here."""

from typing import Any

from household.tables.actions import ACTIONS
from household.tables.acts import ACTS
from household.tables.arms import ARMS
from household.tables.budgets import BUDGETS, EARMARKS
from household.tables.capacities import CAPACITIES
from household.tables.claims import CLAIMS, KNOWN_STOCK
from household.tables.contacts import CONTACTS
from household.tables.contract import Declaration
from household.tables.decisions import DECISIONS
from household.tables.encounters import ENCOUNTERS
from household.tables.graph_events import GRAPH_EVENTS
from household.tables.heard import HEARD
from household.tables.holds import HOLDS, STOCK
from household.tables.instances import INSTANCES
from household.tables.moments import PENDING, SETTLED
from household.tables.outbox import OUTBOX
from household.tables.pauses import ACCEPTED_OFFERS, DECLINED_FAMILIES, DECLINED_OFFERS
from household.tables.recent_signals import RECENT_SIGNALS
from household.tables.relocations import ARRIVALS, DEPARTURES, PLACES, WAITING
from household.tables.requests import REQUESTS
from household.tables.shown import SHOWN
from household.tables.slates import SLATES

TABLES: tuple[Declaration[Any], ...] = (
    OUTBOX,
    REQUESTS,
    ACTIONS,
    PENDING,
    SETTLED,
    SLATES,
    CONTACTS,
    DECLINED_OFFERS,
    DECLINED_FAMILIES,
    ACCEPTED_OFFERS,
    GRAPH_EVENTS,
    RECENT_SIGNALS,
    DECISIONS,
    ENCOUNTERS,
    CAPACITIES,
    ARMS,
    SHOWN,
    BUDGETS,
    EARMARKS,
    HEARD,
    INSTANCES,
    ACTS,
    CLAIMS,
    KNOWN_STOCK,
    HOLDS,
    STOCK,
    PLACES,
    WAITING,
    DEPARTURES,
    ARRIVALS,
)
"""In the order in which a tick looks at them."""
