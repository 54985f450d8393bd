"""Inputs that are nearly sound: what a mistake, a broken disk or somebody with ill will makes of a sound one."""

import random
import re
from collections.abc import Callable

_WORDS = re.compile(rb"[A-Za-z0-9_.\-]+")
# fmt: off
_NUMBERS = (
    b"-1", b"0", b"1e400", b"-0.0", b".nan", b"NaN", b"9223372036854775808", b"18446744073709551616", b"0x10", b"007",
    b"1_000",
)
_ODD = (
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\xf0\x9f\xa6\x8a", b"\n", b"\t", b"\r\n", b"'", b'"',
    b"{", b"}", b"[", b"]", b": ", b"- ", b"&a ", b"*a", b"!!python/object:os.system ", b"<<: ", b"? ", b"|", b">",
    b"#", b"%", b"---\n", b"${x}", b"{x}", b"{0.__class__}",
)
# fmt: on
LENGTH_MAX = 1 << 20


class Mutator:
    """Makes one case after another of sound ones; the same seed makes the same cases."""

    def __init__(self, seeds: list[bytes], *, seed: int) -> None:
        self._seeds = seeds
        self._chance = random.Random(seed)
        self._words = sorted({word for one in seeds for word in _WORDS.findall(one)}) or [b"0"]
        self._ways: tuple[Callable[[bytearray], None], ...] = (
            self._flip, self._overwrite, self._insert, self._remove, self._repeat, self._cut, self._swap_word,
            self._swap_word, self._swap_word, self._number, self._odd, self._odd, self._lines, self._lines, self._nest,
            self._splice,
        )  # fmt: skip

    def case(self) -> bytes:
        """Return the next."""
        made = bytearray(self._chance.choice(self._seeds))
        for _ in range(1 + min(int(self._chance.expovariate(0.8)), 12)):
            self._chance.choice(self._ways)(made)
        return bytes(made[:LENGTH_MAX])

    def _at(self, made: bytearray) -> int:
        return self._chance.randrange(len(made) + 1)

    def _flip(self, made: bytearray) -> None:
        if made:
            made[self._chance.randrange(len(made))] ^= 1 << self._chance.randrange(8)

    def _overwrite(self, made: bytearray) -> None:
        at, count = self._at(made), self._chance.choice((1, 2, 4, 8))
        made[at : at + count] = self._chance.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * count

    def _insert(self, made: bytearray) -> None:
        at = self._at(made)
        made[at:at] = self._chance.randbytes(self._chance.choice((1, 2, 7, 64)))

    def _remove(self, made: bytearray) -> None:
        at = self._at(made)
        del made[at : at + self._chance.choice((1, 2, 8, 100))]

    def _repeat(self, made: bytearray) -> None:
        at = self._at(made)
        part = made[at : at + self._chance.choice((1, 5, 50, 500))]
        made[at:at] = part * self._chance.choice((1, 2, 50))

    def _cut(self, made: bytearray) -> None:
        del made[self._at(made) :]

    def _word(self, made: bytearray) -> tuple[int, int]:
        found = list(_WORDS.finditer(bytes(made[:65_536])))
        return self._chance.choice(found).span() if found else (0, 0)

    def _swap_word(self, made: bytearray) -> None:
        start, end = self._word(made)
        made[start:end] = self._chance.choice(self._words)

    def _number(self, made: bytearray) -> None:
        start, end = self._word(made)
        made[start:end] = self._chance.choice(_NUMBERS)

    def _odd(self, made: bytearray) -> None:
        start, end = self._word(made)
        at = self._chance.choice((start, end, self._at(made)))
        made[at:at] = self._chance.choice(_ODD)

    def _lines(self, made: bytearray) -> None:
        lines = bytes(made).split(b"\n")
        one, other = self._chance.randrange(len(lines)), self._chance.randrange(len(lines))
        match self._chance.randrange(4):
            case 0:
                lines[one], lines[other] = lines[other], lines[one]
            case 1:
                lines.insert(other, lines[one])
            case 2:
                del lines[one]
            case _:
                lines[one] = b"  " + lines[one] if self._chance.random() < 0.5 else lines[one].removeprefix(b"  ")
        made[:] = b"\n".join(lines)

    def _nest(self, made: bytearray) -> None:
        at, depth = self._word(made)[0], self._chance.choice((3, 60, 3_000))
        opened, closed = self._chance.choice(((b"[", b"]"), (b"{a: ", b"}"), (b"(", b")"), (b"not ", b"")))
        made[at:at] = opened * depth + b"1" + closed * depth

    def _splice(self, made: bytearray) -> None:
        other = self._chance.choice(self._seeds)
        made[self._at(made) :] = other[self._chance.randrange(len(other) + 1) :]
