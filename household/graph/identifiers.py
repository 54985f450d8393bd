"""Identifiers and subjects as texts `kind:value`, each written in one way only.

An identifier is what a source knows somebody by (a phone number, an address, a device). A subject is who owns facts: a
member (`member:anna`) or a line (`line:sim-7`). A subject's own name is an identifier of it, too, and means it always.
"""

import re

MEMBER, LINE = "member", "line"
SUBJECT_KINDS = (MEMBER, LINE)

PHONE_KINDS = ("msisdn", "phone")
FOLDED_KINDS = ("email", "mac")
"""Whose values mean the same in small and in capital letters."""

LONGEST = 96
"""Bytes in an identifier: with what the fold puts behind it, it is still a key."""

_SHAPE = re.compile(r"([a-z][a-z0-9_]*):(.+)", re.DOTALL)
_BETWEEN_DIGITS = str.maketrans("", "", " -()./\u00a0")


def normalised(text: str) -> str | None:
    """Return an identifier or subject as it is always written; None for what is none.

    >>> normalised("MSISDN: 00 44 (7700) 900-123"), normalised("email:Anna@Example.org "), normalised("anna")
    ('msisdn:+447700900123', 'email:anna@example.org', None)
    """
    found = _SHAPE.fullmatch(text.strip().partition(":")[0].strip().lower() + ":" + text.partition(":")[2].strip())
    if found is None:
        return None
    kind, value = found.groups()
    if kind in PHONE_KINDS:
        value = value.translate(_BETWEEN_DIGITS)
        value = "+" + value[2:] if value.startswith("00") else value
        if not value.removeprefix("+").isdecimal():
            return None
    elif kind in FOLDED_KINDS:
        value = value.lower()
    whole = f"{kind}:{value}"
    if len(whole.encode(errors="surrogatepass")) > LONGEST or any(ord(letter) < 32 for letter in whole):
        return None
    return whole


MASK = "…"
SHOWN_OF_MASKED = 2


def masked(identifier: str) -> str:
    """Return of an identifier what may be shown to who need not know it: its kind and the last characters.

    >>> masked("msisdn:+447700900123"), masked("email:a@b")
    ('msisdn:…23', 'email:…')
    """
    kind, _, value = identifier.partition(":")
    return f"{kind}:{MASK}{value[-SHOWN_OF_MASKED:] if len(value) >= 3 * SHOWN_OF_MASKED else ''}"


def is_subject(text: str) -> bool:
    """Return whether a normalised text names a member or a line."""
    return text.partition(":")[0] in SUBJECT_KINDS


def is_member(subject: str) -> bool:
    """Return whether a subject is a person."""
    return subject.startswith(f"{MEMBER}:")


def own_name(subject: str) -> str:
    """Return what a subject is called without its kind.

    >>> own_name("member:anna")
    'anna'
    """
    return subject.partition(":")[2]


def of_name(name: str) -> str:
    """Return the subject that is a person of a name.

    >>> of_name("anna")
    'member:anna'
    """
    return f"{MEMBER}:{name}"
