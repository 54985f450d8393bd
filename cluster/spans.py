"""Spans of calls that are over, and the W3C traceparents by which they travel."""

import re
import time
from collections.abc import Mapping
from typing import Final, Protocol

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from cluster.config import utc_now
from cluster.metrics import SCOPE

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_MASK: Final = (1 << 64) - 1

Attributes = Mapping[str, str | int | bool]


class SpanExport(Protocol):
    """Where spans go once they are over."""

    @property
    def resource(self) -> Resource:
        """What they are spans of."""
        ...

    def span_ended(self, span: ReadableSpan) -> None:
        """Queue one."""
        ...


class Spans:
    """Makes spans of calls that are over. Ids travel as W3C traceparents, so nothing is kept while a call runs."""

    def __init__(self, export: SpanExport) -> None:
        self._export = export
        self._ids = RandomIdGenerator()

    def draw(self, share: float) -> str:
        """Return the traceparent of a new trace, for this share of calls; empty for the others."""
        trace_id = self._ids.generate_trace_id()
        # The ratio sampler of OpenTelemetry, so that other services' samplers agree on what they see of a trace.
        return self._traceparent(trace_id) if trace_id & _MASK < round(share * (1 << 64)) else ""

    def child(self, parent: SpanContext) -> str:
        """Return the traceparent of a span below `parent`."""
        return self._traceparent(parent.trace_id)

    def record(
        self,
        name: str,
        *,
        own: str,
        parent: str,
        started_ns: int,
        ended_ns: int,
        to_wall_ns: int,
        attributes: Attributes,
        kind: SpanKind = SpanKind.INTERNAL,
        is_failed: bool = False,
    ) -> None:
        """Hand over a span; its times are of the monotonic clock, and `to_wall_ns` makes them the wall's."""
        self._export.span_ended(
            ReadableSpan(
                name=name,
                context=parsed(own),
                parent=parsed(parent),
                resource=self._export.resource,
                attributes=attributes,
                kind=kind,
                status=Status(StatusCode.ERROR if is_failed else StatusCode.UNSET),
                start_time=started_ns + to_wall_ns,
                end_time=ended_ns + to_wall_ns,
                instrumentation_scope=SCOPE,
            )
        )

    def _traceparent(self, trace_id: int) -> str:
        return f"00-{trace_id:032x}-{self._ids.generate_span_id():016x}-01"


def parsed(traceparent: str) -> SpanContext | None:
    """Return what a W3C traceparent says; None for one that is empty or malformed.

    >>> parsed("00-" + 32 * "a" + "-" + 16 * "b" + "-01").trace_flags.sampled
    True
    >>> parsed("00-nonsense") is None
    True
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None


def wall_offset_ns() -> int:
    """Return what added to a time of the monotonic clock makes it one of the wall's."""
    return wall_ns() - time.monotonic_ns()


def wall_ns() -> int:
    """Return the wall's time, in whole microseconds."""
    return int(utc_now().timestamp() * 1_000_000) * 1_000
