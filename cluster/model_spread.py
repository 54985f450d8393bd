"""Has every shard score by the model in force; one that cannot says so in every decision, and is told again later."""

import asyncio
import logging
from collections.abc import Mapping

from cluster.shard_seen import ShardSeen, within
from serving.models.in_force import PRIORS_IN_FORCE, ModelInForce

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25
MODEL_DEADLINE_S = 60.0
MODEL_START_S_MAX = 20.0
"""So long a start waits for shards to load the model in force."""
MODEL_PAUSE_S = 10.0
"""After which a shard that did not take a model is told of it again."""


class ModelSpread:
    """Tells shards of the model in force. In the coordinator's loop."""

    def __init__(self, shards: Mapping[str, ShardSeen], *, changed: asyncio.Event) -> None:
        """`shards`: by name, as they come to be known; `changed`: set once one may be given partitions."""
        self._shards = shards
        self._changed = changed
        self.model = PRIORS_IN_FORCE
        self.telling: set[asyncio.Task[None]] = set()
        """Shards that are being told of the model before they may be given anything."""

    def begin(self, seen: ShardSeen) -> None:
        """Tell a shard that has just started, beside all else; it is able once it has the model or has said why not."""
        seen.model, seen.is_able = None, self.model.is_priors
        if not seen.is_able:
            telling = asyncio.create_task(self._tell(seen, self.model), name=f"model-{seen.name}")
            self.telling.add(telling)
            telling.add_done_callback(self.telling.discard)

    async def await_told(self) -> None:
        """Wait for those that are being told, but not for ever."""
        if self.telling:
            await asyncio.wait(self.telling, timeout=MODEL_START_S_MAX)

    async def use(self, model: ModelInForce) -> None:
        """Have all score by another model from the next decision on."""
        self.model = model
        for seen in self._shards.values():
            seen.told_again_s = 0.0
        await self.spread()

    async def watch(self) -> None:
        """Apart from all else: a shard takes seconds to load a model, and may hang."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.spread()

    async def spread(self) -> None:
        """Tell those that do not score by it yet and whose pause is over."""
        now_s = asyncio.get_running_loop().time()
        others = [
            seen
            for seen in self._shards.values()
            if seen.started is not None and seen.is_able and seen.model != self.model and now_s >= seen.told_again_s
        ]
        await asyncio.gather(*(self._tell(seen, self.model) for seen in others))

    async def _tell(self, seen: ShardSeen, model: ModelInForce) -> None:
        """Have a shard score by a model; one that cannot says so in every decision, and is told again later."""
        told, trouble = seen.started, ""
        seen.told_again_s = asyncio.get_running_loop().time() + MODEL_PAUSE_S
        try:
            await within(MODEL_DEADLINE_S, seen.handle.use_model.remote(model))
        except Exception as wrong:
            trouble = f"{str(wrong).partition(chr(10))[0] or type(wrong).__name__}"
        if seen.started is not told:
            return
        if trouble and trouble != seen.model_trouble:
            logger.error("%s does not take model %s: %s", seen.name, model.version or "prior", trouble)
        seen.model_trouble, seen.is_able = trouble, True
        if not trouble:
            seen.model = model
        self._changed.set()
