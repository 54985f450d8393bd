"""What the arms are treated with: the playbook as it is, and the same actions chosen once a month."""

from dataclasses import replace

from household.plan import NONE, EventType, Journey, Plan, Scope, Trigger

CAMPAIGN = "campaign.run"
"""What tells a member of the batch arm that it is their turn; nothing else brings anything up there."""


def moment_plan(plan: Plan) -> Plan:
    """Return the playbook without control groups of its own: the arms are the experiment."""
    return replace(plan, experiments=(), journeys=tuple(replace(one, control_share=0.0) for one in plan.journeys))


def batch_plan(plan: Plan, *, every_us: int) -> Plan:
    """Return the same actions, conditions, prices, policy and arbitration, of which one choice stands until the next.

    What is chosen is sent, and stands on every channel that a member comes to in the meantime.
    """
    turn = EventType(name=CAMPAIGN, source="billing")
    outbound = tuple(index for index, channel in enumerate(plan.channels) if channel.outbound)
    campaign = Journey(
        name="campaign",
        trigger=Trigger(events=(len(plan.event_types),), program=NONE, scope=Scope.MEMBER),
        offers=tuple(range(len(plan.offers))),
        outbound=outbound,
    )
    return replace(
        plan,
        name=f"{plan.name}_batch",
        event_types=(*plan.event_types, turn),
        offers=tuple(replace(one, valid_us=max(every_us, one.valid_us)) for one in plan.offers),
        journeys=(campaign,),
        experiments=(),
    )
