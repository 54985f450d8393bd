"""How rules lie in arrays: each as one line, or as two where a limit holds both ways."""

from typing import Final

KIND: Final = 0
SCOPE: Final = 1
MOST: Final = 2
"""COUNT: contacts that may have been before, −1 where there may be none at all. Else as written."""
WINDOW_US: Final = 3
"""Of a sliding window; CALENDAR where the caller says from when to when it lasts."""
COUNTED_WHEN: Final = 4
INBOUND: Final = 5
RESERVES: Final = 6
SILENCE_US: Final = 7
LINE_COLUMNS: Final = 8

CALENDAR: Final = -1

COUNT: Final = 0
COST: Final = 1
FAMILIES: Final = 2
SILENCE: Final = 3
CAPACITY: Final = 4

ADDRESS: Final = 0
LINE: Final = 1
MEMBER: Final = 2
HOUSEHOLD: Final = 3

HANDED: Final = 0
DELIVERED: Final = 1
SEEN: Final = 2

ASK_TRAITS: Final = 0
ASK_CHANNEL: Final = 1
ASK_ADDRESS: Final = 2
ASK_COST: Final = 3
ASK_VALUE: Final = 4
ASK_COLUMNS: Final = 5
"""Of an action that is weighed on a channel."""

AT_TIME: Final = 0
AT_MEMBER: Final = 1
AT_CHANNEL: Final = 2
AT_TRAITS: Final = 3
AT_LINE: Final = 4
AT_ADDRESS: Final = 5
AT_COST: Final = 6
AT_HANDED: Final = 7
AT_DELIVERED: Final = 8
AT_SEEN: Final = 9
AT_UNTIL: Final = 10
AT_VALUE: Final = 11
AT_COLUMNS: Final = 12
"""Which column of the contacts' table holds what."""
AT_KIND: Final = 7
"""The same of encounters, whose first columns are the same."""

NEVER_US: Final = 2**62
"""A rule that will not open by itself."""
