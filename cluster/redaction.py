"""Takes out of texts what must not leave an installation: secrets go, what may be an identifier becomes a pseudonym.

By what things look like: for texts in which there should be none of either, as log lines, before somebody else reads
them. A key that looks like a word is not found so; whoever writes texts still leaves keys out of them.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from wire.installation import Installation

GONE: Final = "[removed]"

_SECRETS: Final = (
    re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"),  # a JWT
    re.compile(r"(?i)(?<=bearer )\S+"),
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),  # user and password of a URL
    re.compile(r"(?i)((?:password|passwd|secret|token|api_?key)\"?\s*[=:]\s*\"?)[^\s\",;]+"),
    re.compile(r"\b[0-9a-fA-F]{32,}\b"),
    re.compile(r"-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|$)", re.DOTALL),
)
_IDENTIFIERS: Final = (
    re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"),
    re.compile(r"(?<![\w.:])\+?\d{7,}(?![\w.:])"),  # a phone number, an account; not a time, a version, an address
    re.compile(r"\b[A-Za-z]{1,4}[-_]?\d{4,}\b"),  # H000123
)

_SECRET_SETTINGS: Final = ("token", "password", "secret")


def redacted(text: str, installation: Installation) -> str:
    """Return a text without secrets, and with pseudonyms for what may be an identifier."""
    for secret in _SECRETS:
        text = secret.sub(lambda found: f"{found.group(1)}{GONE}" if found.re.groups else GONE, text)
    for identifier in _IDENTIFIERS:
        text = identifier.sub(lambda found: installation.pseudonym(found.group()), text)
    return text


def redacted_all(value: Any, installation: Installation) -> Any:
    """Return what JSON may hold, with every text and every key in it redacted."""
    match value:
        case str():
            return redacted(value, installation)
        case dict():
            return {redacted(str(key), installation): redacted_all(one, installation) for key, one in value.items()}
        case list() | tuple():
            return [redacted_all(one, installation) for one in value]
        case _:
            return value


def without_messages(traceback: str) -> str:
    """Return where a traceback went and of which types its exceptions were, without what these said.

    >>> without_messages("Traceback:\\n  File \\"cluster/cli.py\\", line 3, in f\\n    x[key]\\nKeyError: 'H000123'")
    '  File "cluster/cli.py", line 3, in f\\nKeyError'
    """
    lines = traceback.splitlines()
    kept = [line for line in lines if re.match(r'\s+File "', line)]
    types = [found.group(1) for line in lines if (found := re.match(r"([A-Za-z_][\w.]*)(?::|$)", line))]
    return "\n".join([*kept, *(name for name in types if name != "Traceback")])


def settings_without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, plain as JSON has them, without the secrets among and within them."""
    return {
        name: GONE
        if value is not None and any(word in name for word in _SECRET_SETTINGS)
        else re.sub(r"(?<=://)[^/\s@]+(?=@)", GONE, value)
        if isinstance(value, str)
        else value
        for name, value in settings.items()
    }
