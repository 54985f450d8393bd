"""Where signal batches are decoded: never on the event loop, which has other callers to hear.

A small one is decoded in the state thread, in the turn in which its group is formed, together with the others of its
group; a large one by a worker, while the group before is written. Either has had its place in the queue since it came.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial

from actors.partition.group import Signals
from actors.records.signals import TOGETHER_BYTES, TOGETHER_RECORDS, decode_signals, decode_together
from household.events import EventBatch
from household.plan import Plan


class Decoding:
    """Lets the large batches of one partition be decoded. Belongs to the event loop it is used in."""

    def __init__(self, workers: Executor, on_decoded: Callable[[], None]) -> None:
        """`on_decoded`: called whenever one is, or could not be; it may leave its place then."""
        self._workers = workers
        self._on_decoded = on_decoded

    def begin(self, one: Signals, plan: Plan) -> None:
        """Let a batch that waits be decoded under a plan, unless that is left to the turn that forms its group."""
        if len(one.payload) <= TOGETHER_BYTES:
            return
        one.is_being_decoded = True
        decoding = asyncio.get_running_loop().run_in_executor(self._workers, _decode_if_wanted, one, plan)
        decoding.add_done_callback(partial(self._ended, one))

    def _ended(self, one: Signals, decoding: asyncio.Future[EventBatch | None]) -> None:
        one.is_being_decoded = False
        wrong = decoding.exception()
        if wrong is None:
            one.decoded = decoding.result()
        else:
            one.is_unreadable = True
            if not one.done.done():
                one.done.set_exception(wrong)
        self._on_decoded()


def _decode_if_wanted(one: Signals, plan: Plan) -> EventBatch | None:
    """In a worker."""
    return decode_signals(one.payload, plan) if one.caller.is_waiting else None


def to_decode(signals: Sequence[Signals]) -> Iterator[list[Signals]]:
    """Yield those that nobody has decoded, so many at a time as may be decoded in one turn of the state thread."""
    some: list[Signals] = []
    size = 0
    for one in signals:
        if one.decoded is not None:
            continue
        size += len(one.payload)
        if some and (len(some) == TOGETHER_RECORDS or size > TOGETHER_BYTES):
            yield some
            some, size = [], len(one.payload)
        some.append(one)
    if some:
        yield some


def decode(some: Sequence[Signals], plan: Plan) -> list[tuple[Signals, Exception]]:
    """Decode batches under a plan; return those that cannot be, and why. In the state thread."""
    if len(some) == 1:
        return list(_decode_each(some, plan))
    try:
        batches = decode_together([one.payload for one in some], plan)
    except Exception:  # noqa: BLE001 - one of them is poison, which is to harm none of the others
        return list(_decode_each(some, plan))
    for one, batch in zip(some, batches, strict=True):
        one.decoded = batch
    return []


def _decode_each(some: Sequence[Signals], plan: Plan) -> Iterator[tuple[Signals, Exception]]:
    for one in some:
        try:
            one.decoded = decode_signals(one.payload, plan)
        except Exception as wrong:  # noqa: BLE001 - whatever it is, it is told to who sent it
            yield one, wrong
