"""Laws of the actor around a shard: what it cannot open it gives up, so that another may be asked, and only that; it
has the model in force before it serves anything, or its decisions say that they are worse for it.
"""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from actors.log.location import InFiles
from actors.partition.caller import Caller
from actors.partition.scoring_settings import ScoringConfig
from actors.shard.config import ShardConfig
from cluster.leases import LeaseSettings
from cluster.metadata import MetadataStore, sqlite_url
from cluster.metadata_tables import NOBODY
from cluster.shard_actor import ShardActor, Stores
from hearth.internal.v1 import shard_pb2
from hearth.v1 import decision_pb2
from household.plan import PlanUnreadable, ValueTerm
from household.scoring import feature_schema
from serving.models import bundle as bundles
from serving.models.bundle import BundleRefused, read_manifest, save_bundle
from serving.models.in_force import PRIORS_IN_FORCE, ModelInForce
from serving.models.probe import DIFFERENCE, together
from serving.signal_batches import batch_from_signals
from tests.actors.harness import corner, in_loop, signal
from tests.serving.test_bundle import make_draft
from wire.batches import ipc_bytes


def model_of_corner(
    directory: Path, *, name: str = "acceptance", term: ValueTerm = ValueTerm.ACCEPTANCE
) -> ModelInForce:
    schema = feature_schema(corner())
    names = schema.names_for(term)
    draft = make_draft(columns=len(names), names=names)
    draft = replace(draft, feature_schema_hash=schema.hash, term=term.value)
    if term is ValueTerm.UPLIFT:
        draft = replace(draft, model=together(DIFFERENCE, [draft.model] * 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "_probe", lambda *_: None)  # test_bundle.py has it
        folder = save_bundle(directory / "models", name, draft, created="now", version="v1")
    return ModelInForce(
        version="v1",
        bundle_path=str(folder),
        sha256=read_manifest(folder).digest,
        feature_schema_hash=schema.hash,
        columns=names,
        name=name,
        term=term,
    )


def a_visit(name: str) -> decision_pb2.DecideRequest:
    return decision_pb2.DecideRequest(request_id=name, household=name, member="m", channel="app")


async def decides(actor: ShardActor, name: str) -> decision_pb2.DecideResponse:
    visit = signal(f"{name}-v", name, "visit", time.time_ns() // 1_000, member="m")
    batch = ipc_bytes(batch_from_signals([visit]))
    call = shard_pb2.DecideCall(request=a_visit(name), signal_batch=batch)
    answer = await actor._shard.call(shard_pb2.METHOD_DECIDE, 0, call.SerializeToString(), Caller(10.0), "")
    return decision_pb2.DecideResponse.FromString(answer)


@in_loop
async def test_a_restart_scores_by_the_champion_from_its_first_decision_on_or_says_that_it_does_not(tmp_path: Path):
    model = model_of_corner(tmp_path)
    actor, metadata = actor_in(tmp_path)
    try:
        holder = (await actor.start())["holder"]
        exchanged = replace(model, columns=(model.columns[1], model.columns[0], *model.columns[2:]))
        with pytest.raises(BundleRefused, match="column 0 is"):
            await actor.use_model(exchanged)
        assert metadata.take(0, holder=holder, seen_epoch=0, epoch=1)
        await actor.assign(0, plan_bytes=corner().canonical_bytes, epoch=1)
        without = await decides(actor, "without")
        assert (without.model_version, without.degraded) == ("prior", True)

        await actor.use_model(model)
        first = await decides(actor, "first")
        assert (first.model_version, first.degraded, first.scored_by) == ("v1", False, decision_pb2.SCORED_BY_SHARD)
        scorer = actor._shard._lineup
        await actor.use_model(model)
        assert actor._shard._lineup is scorer, "told again, it loads nothing"

        # What comes later and cannot be served leaves it in service.
        with pytest.raises(BundleRefused):
            await actor.use_model(replace(exchanged, version="v2"))
        assert (await decides(actor, "still")).model_version == "v1"
        await actor.use_model(ModelInForce(missing="the registry is gone"))
        assert (await decides(actor, "missing")).degraded
        await actor.use_model(PRIORS_IN_FORCE)
        priors = await decides(actor, "priors")
        assert (priors.model_version, priors.degraded) == ("prior", False)
    finally:
        await actor.drain()
        metadata.close()


@in_loop
async def test_a_model_of_a_term_that_cannot_be_loaded_costs_that_term_alone_and_is_tried_again(tmp_path: Path):
    plan = corner(("families: [mobile", "models: {uplift: spring, churn: leavers}\nfamilies: [mobile"))
    acceptance = model_of_corner(tmp_path)
    spring = model_of_corner(tmp_path, name="spring", term=ValueTerm.UPLIFT)
    leavers = model_of_corner(tmp_path, name="leavers", term=ValueTerm.CHURN)
    damaged = Path(spring.bundle_path) / "control.ubj"
    whole = damaged.read_bytes()
    actor, metadata = actor_in(tmp_path)
    try:
        holder = (await actor.start())["holder"]
        assert metadata.take(0, holder=holder, seen_epoch=0, epoch=1)
        await actor.assign(0, plan_bytes=plan.canonical_bytes, epoch=1)
        model = replace(acceptance, terms=(spring, leavers))
        await actor.use_model(model)
        every = await decides(actor, "every")
        assert (every.degraded, dict(every.term_versions)) == (False, {"uplift": "v1", "churn": "v1"})
        await actor.use_model(acceptance)
        assert not (await decides(actor, "alone")).term_versions

        damaged.write_bytes(b"nonsense")
        for _ in range(2):
            with pytest.raises(BundleRefused, match=r"control\.ubj"):
                await actor.use_model(model)
            name = f"without-{_}"
            without = await decides(actor, name)
            assert (without.model_version, dict(without.term_versions)) == ("v1", {"uplift": "prior", "churn": "v1"})
            assert (without.degraded, "DEGRADED:uplift" in without.reasons) == (True, True)
        damaged.write_bytes(whole)
        await actor.use_model(model)
        assert not (await decides(actor, "again")).degraded
    finally:
        await actor.drain()
        metadata.close()


def actor_in(tmp_path: Path) -> tuple[ShardActor, MetadataStore]:
    url = sqlite_url(tmp_path / "metadata.sqlite")
    stores = Stores(
        log=InFiles(tmp_path / "log"),
        segment_bytes=1 << 20,
        snapshots=str(tmp_path / "snapshots"),
        metadata_url=url,
        clock_jump_us_max=5_000_000,
    )
    config = ShardConfig(name="shard-0", address=f"unix:{tmp_path}/s")
    actor = ShardActor(config, stores=stores, lease=LeaseSettings(), scoring=ScoringConfig())
    return actor, MetadataStore(url)


@in_loop
async def test_a_partition_that_cannot_be_opened_is_given_up_and_others_stay(tmp_path: Path):
    actor, metadata = actor_in(tmp_path)
    try:
        holder = (await actor.start())["holder"]
        for partition in (0, 1):
            assert metadata.take(partition, holder=holder, seen_epoch=0, epoch=1)
        assert await actor.assign(0, plan_bytes=corner().canonical_bytes, epoch=1) == 1
        with pytest.raises(PlanUnreadable):
            await actor.assign(1, plan_bytes=b"no plan", epoch=1)
        assert [(one.holder, one.epoch) for one in metadata.ownerships()] == [(holder, 1), (NOBODY, 1)]

        # Another term than the one that failed is not touched.
        assert metadata.take(1, holder=holder, seen_epoch=1, epoch=5)
        with pytest.raises(PlanUnreadable):
            await actor.assign(1, plan_bytes=b"no plan", epoch=2)
        assert metadata.ownership(1).holder == holder
    finally:
        await actor.drain()
        metadata.close()
