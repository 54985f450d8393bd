"""`hearth capture` as a process to be killed: with small batches, and, as a control, with its guarantee broken."""

import functools
import sys

from confluent_kafka import KafkaException

from cluster.capture_actor import connector
from cluster.cli import main
from cluster.commands import capture
from intake.capture.connector import CaptureLimits
from intake.capture.kafka_source import KafkaSource
from intake.capture.ports import Message

SMALL = CaptureLimits(batch_messages=40, wait_longest_s=0.5)

read = KafkaSource.read


def hasty(self: KafkaSource, *, most: int, timeout_s: float) -> list[Message]:
    """Read, and commit at once."""
    found = read(self, most=most, timeout_s=timeout_s)
    next_offsets = {one.source_partition: one.offset + 1 for one in found}
    offsets = [self._kafka.TopicPartition(*place, offset) for place, offset in next_offsets.items()]
    if offsets:
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as failed:
            self.trouble = str(failed)
    return found


if __name__ == "__main__":
    capture.connector = functools.partial(connector, limits=SMALL)  # type: ignore[assignment]
    if sys.argv[1] == "hasty":
        KafkaSource.read = hasty  # type: ignore[method-assign]
    main(sys.argv[2:])
