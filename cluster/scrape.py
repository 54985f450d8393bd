"""Reads the page of numbers that a running Hearth shows to Prometheus, for commands that show them to people."""

import urllib.error
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from cluster.client import reachable

SCRAPE_DEADLINE_S = 5.0


@dataclass(slots=True)
class Scraped:
    """What a page said: values by series, and per process."""

    text: str = ""
    values: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))
    """Series → process → sum over its other labels."""
    buckets: dict[str, dict[str, dict[float, float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(float)))
    )
    """Histogram → process → upper bound → count up to there, summed over other labels."""

    def of(self, series: str, process: str) -> float | None:
        """Return a value, None where the page has none."""
        return self.values[series].get(process)


def scrape(address: str) -> Scraped | None:
    """Return what the page at host:port says; None where it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{reachable(address)}/metrics", timeout=SCRAPE_DEADLINE_S) as answer:
            return parsed(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return None


def parsed(text: str) -> Scraped:
    """Return what a page says."""
    page = Scraped(text)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            process = sample.labels.get("process", "")
            if sample.name.endswith("_bucket"):
                name = sample.name.removesuffix("_bucket")
                page.buckets[name][process][float(sample.labels["le"])] += sample.value
            else:
                page.values[sample.name][process] += sample.value
    return page


def quantile(share: float, now: dict[float, float], before: dict[float, float] | None = None) -> float | None:
    """Return the bound below which that share of what was counted since `before` lies; None where nothing was.

    >>> quantile(0.5, {0.1: 3, 0.2: 4, float("inf"): 4}), quantile(0.9, {0.1: 3, 0.2: 4, float("inf"): 4})
    (0.1, 0.2)
    >>> quantile(0.9, {0.1: 3, float("inf"): 3}, {0.1: 3, float("inf"): 3}) is None
    True
    """
    since = {bound: count - (before or {}).get(bound, 0.0) for bound, count in sorted(now.items())}
    whole = max(since.values(), default=0.0)
    if whole <= 0:
        return None
    return next(bound for bound, count in since.items() if count >= share * whole)
