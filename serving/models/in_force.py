"""Which model scores: what the launcher has chosen and proven, for the coordinator and the shards to take."""

from dataclasses import dataclass
from typing import Final

MODEL_NAME: Final = "acceptance"
"""The one model there is so far: P(accept)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInForce:
    """A model version that is in force, or what stands in its place."""

    version: str = ""
    """Empty for the playbook's priors."""
    bundle_path: str = ""
    """Readable on every node."""
    sha256: str = ""
    """Of the model's bytes, which have been proven."""
    feature_schema_hash: str = ""
    columns: tuple[str, ...] = ()
    """Those of the playbook in force, in order; the model's are the same."""
    app_name: str = ""
    """The Serve application that runs it; empty while none does, so that shards score by themselves."""
    missing: str = ""
    """Why no version can be used though one should be in force: the priors score, degraded. Empty otherwise."""

    @property
    def is_priors(self) -> bool:
        """Whether the priors score because nothing else is wanted."""
        return not self.version and not self.missing


PRIORS_IN_FORCE: Final = ModelInForce()
