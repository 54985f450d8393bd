import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hearth.v1 import decision_pb2 as _decision_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetRequest(_message.Message):
    __slots__ = ("household", "identifier", "whole_identifiers")
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    WHOLE_IDENTIFIERS_FIELD_NUMBER: _ClassVar[int]
    household: str
    identifier: str
    whole_identifiers: bool
    def __init__(self, household: _Optional[str] = ..., identifier: _Optional[str] = ..., whole_identifiers: _Optional[bool] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("known", "partition", "as_of", "features", "members", "pending", "live_actions", "assignments", "products", "instances", "household", "aliases", "subjects", "orphan", "quarantine", "closed_at")
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    LIVE_ACTIONS_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    ORPHAN_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_FIELD_NUMBER: _ClassVar[int]
    CLOSED_AT_FIELD_NUMBER: _ClassVar[int]
    known: bool
    partition: int
    as_of: _timestamp_pb2.Timestamp
    features: _containers.RepeatedCompositeFieldContainer[FeatureValue]
    members: _containers.RepeatedCompositeFieldContainer[MemberFeatures]
    pending: _containers.RepeatedCompositeFieldContainer[Moment]
    live_actions: _containers.RepeatedCompositeFieldContainer[_decision_pb2.Action]
    assignments: _containers.RepeatedCompositeFieldContainer[Assignment]
    products: _containers.RepeatedCompositeFieldContainer[HeldProduct]
    instances: _containers.RepeatedCompositeFieldContainer[JourneyInstance]
    household: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    subjects: _containers.RepeatedCompositeFieldContainer[Subject]
    orphan: bool
    quarantine: _containers.RepeatedCompositeFieldContainer[Quarantined]
    closed_at: _timestamp_pb2.Timestamp
    def __init__(self, known: _Optional[bool] = ..., partition: _Optional[int] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., features: _Optional[_Iterable[_Union[FeatureValue, _Mapping]]] = ..., members: _Optional[_Iterable[_Union[MemberFeatures, _Mapping]]] = ..., pending: _Optional[_Iterable[_Union[Moment, _Mapping]]] = ..., live_actions: _Optional[_Iterable[_Union[_decision_pb2.Action, _Mapping]]] = ..., assignments: _Optional[_Iterable[_Union[Assignment, _Mapping]]] = ..., products: _Optional[_Iterable[_Union[HeldProduct, _Mapping]]] = ..., instances: _Optional[_Iterable[_Union[JourneyInstance, _Mapping]]] = ..., household: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., subjects: _Optional[_Iterable[_Union[Subject, _Mapping]]] = ..., orphan: _Optional[bool] = ..., quarantine: _Optional[_Iterable[_Union[Quarantined, _Mapping]]] = ..., closed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Subject(_message.Message):
    __slots__ = ("name", "identifiers")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    identifiers: _containers.RepeatedCompositeFieldContainer[Identifier]
    def __init__(self, name: _Optional[str] = ..., identifiers: _Optional[_Iterable[_Union[Identifier, _Mapping]]] = ...) -> None: ...

class Identifier(_message.Message):
    __slots__ = ("identifier", "until", "probability")
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    identifier: str
    until: _timestamp_pb2.Timestamp
    probability: float
    def __init__(self, identifier: _Optional[str] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., probability: _Optional[float] = ..., **kwargs) -> None: ...

class Quarantined(_message.Message):
    __slots__ = ("cause", "kind", "time", "about", "why", "evidence", "partition")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    cause: str
    kind: str
    time: _timestamp_pb2.Timestamp
    about: _containers.RepeatedScalarFieldContainer[str]
    why: str
    evidence: str
    partition: int
    def __init__(self, cause: _Optional[str] = ..., kind: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., about: _Optional[_Iterable[str]] = ..., why: _Optional[str] = ..., evidence: _Optional[str] = ..., partition: _Optional[int] = ...) -> None: ...

class QuarantineRequest(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class QuarantineResponse(_message.Message):
    __slots__ = ("quarantine", "total")
    QUARANTINE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    quarantine: _containers.RepeatedCompositeFieldContainer[Quarantined]
    total: int
    def __init__(self, quarantine: _Optional[_Iterable[_Union[Quarantined, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class ChangeRequest(_message.Message):
    __slots__ = ("request_id", "merge", "unmerge", "confirm", "note")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    UNMERGE_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    merge: MergeChange
    unmerge: str
    confirm: str
    note: str
    def __init__(self, request_id: _Optional[str] = ..., merge: _Optional[_Union[MergeChange, _Mapping]] = ..., unmerge: _Optional[str] = ..., confirm: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class MergeChange(_message.Message):
    __slots__ = ("household", "other", "cause")
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    household: str
    other: str
    cause: str
    def __init__(self, household: _Optional[str] = ..., other: _Optional[str] = ..., cause: _Optional[str] = ...) -> None: ...

class ChangeResponse(_message.Message):
    __slots__ = ("effective", "reason", "detail", "cause", "household")
    EFFECTIVE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    effective: bool
    reason: str
    detail: str
    cause: str
    household: str
    def __init__(self, effective: _Optional[bool] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., cause: _Optional[str] = ..., household: _Optional[str] = ...) -> None: ...

class HeldProduct(_message.Message):
    __slots__ = ("product", "families", "lines")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    FAMILIES_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    product: str
    families: _containers.RepeatedScalarFieldContainer[str]
    lines: int
    def __init__(self, product: _Optional[str] = ..., families: _Optional[_Iterable[str]] = ..., lines: _Optional[int] = ...) -> None: ...

class JourneyInstance(_message.Message):
    __slots__ = ("journey", "member", "number", "state", "entered_at", "since", "due_at", "ending", "ended_at", "playbook_version")
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ENTERED_AT_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    PLAYBOOK_VERSION_FIELD_NUMBER: _ClassVar[int]
    journey: str
    member: str
    number: int
    state: str
    entered_at: _timestamp_pb2.Timestamp
    since: _timestamp_pb2.Timestamp
    due_at: _timestamp_pb2.Timestamp
    ending: str
    ended_at: _timestamp_pb2.Timestamp
    playbook_version: str
    def __init__(self, journey: _Optional[str] = ..., member: _Optional[str] = ..., number: _Optional[int] = ..., state: _Optional[str] = ..., entered_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., due_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ending: _Optional[str] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., playbook_version: _Optional[str] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("experiment", "layer", "arm", "share_bp", "salt", "playbook_version", "met_at", "reason")
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    SHARE_BP_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    PLAYBOOK_VERSION_FIELD_NUMBER: _ClassVar[int]
    MET_AT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    experiment: str
    layer: str
    arm: str
    share_bp: int
    salt: str
    playbook_version: str
    met_at: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, experiment: _Optional[str] = ..., layer: _Optional[str] = ..., arm: _Optional[str] = ..., share_bp: _Optional[int] = ..., salt: _Optional[str] = ..., playbook_version: _Optional[str] = ..., met_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class Ghost(_message.Message):
    __slots__ = ("offer", "journey", "channel", "time", "experiments")
    OFFER_FIELD_NUMBER: _ClassVar[int]
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENTS_FIELD_NUMBER: _ClassVar[int]
    offer: str
    journey: str
    channel: str
    time: _timestamp_pb2.Timestamp
    experiments: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, offer: _Optional[str] = ..., journey: _Optional[str] = ..., channel: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., experiments: _Optional[_Iterable[str]] = ...) -> None: ...

class MemberFeatures(_message.Message):
    __slots__ = ("member", "features")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    member: str
    features: _containers.RepeatedCompositeFieldContainer[FeatureValue]
    def __init__(self, member: _Optional[str] = ..., features: _Optional[_Iterable[_Union[FeatureValue, _Mapping]]] = ...) -> None: ...

class FeatureValue(_message.Message):
    __slots__ = ("name", "value", "label", "unit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    label: str
    unit: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., label: _Optional[str] = ..., unit: _Optional[str] = ...) -> None: ...

class Moment(_message.Message):
    __slots__ = ("moment_id", "journey", "member", "event_id", "time")
    MOMENT_ID_FIELD_NUMBER: _ClassVar[int]
    JOURNEY_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    moment_id: str
    journey: str
    member: str
    event_id: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, moment_id: _Optional[str] = ..., journey: _Optional[str] = ..., member: _Optional[str] = ..., event_id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("household", "decision_id", "identifier")
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    household: str
    decision_id: str
    identifier: str
    def __init__(self, household: _Optional[str] = ..., decision_id: _Optional[str] = ..., identifier: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("found", "decision", "dropped")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    found: bool
    decision: DecisionRecord
    dropped: bool
    def __init__(self, found: _Optional[bool] = ..., decision: _Optional[_Union[DecisionRecord, _Mapping]] = ..., dropped: _Optional[bool] = ...) -> None: ...

class DecisionsRequest(_message.Message):
    __slots__ = ("household", "limit", "identifier")
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    household: str
    limit: int
    identifier: str
    def __init__(self, household: _Optional[str] = ..., limit: _Optional[int] = ..., identifier: _Optional[str] = ...) -> None: ...

class DecisionsResponse(_message.Message):
    __slots__ = ("decisions",)
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[DecisionRecord]
    def __init__(self, decisions: _Optional[_Iterable[_Union[DecisionRecord, _Mapping]]] = ...) -> None: ...

class DecisionRecord(_message.Message):
    __slots__ = ("decision_id", "request_id", "household", "member", "channel", "decided_at", "moments", "playbook_version", "model_version", "feature_schema_hash", "degraded", "withheld", "propensity", "reasons", "candidates", "slate", "features", "send_channel", "send_before", "answered", "stands", "time_zone", "playbook_missing", "currency", "scored_by", "send_not_before", "fallback_channels", "withdrawals", "handed_over_channel", "handed_over_at", "rules", "arms", "ghosts", "shadow_scores", "scarce", "term_scores")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HOUSEHOLD_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    MOMENTS_FIELD_NUMBER: _ClassVar[int]
    PLAYBOOK_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURE_SCHEMA_HASH_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    WITHHELD_FIELD_NUMBER: _ClassVar[int]
    PROPENSITY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    SLATE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    SEND_CHANNEL_FIELD_NUMBER: _ClassVar[int]
    SEND_BEFORE_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    STANDS_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    PLAYBOOK_MISSING_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    SCORED_BY_FIELD_NUMBER: _ClassVar[int]
    SEND_NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_CHANNELS_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWALS_FIELD_NUMBER: _ClassVar[int]
    HANDED_OVER_CHANNEL_FIELD_NUMBER: _ClassVar[int]
    HANDED_OVER_AT_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    GHOSTS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_SCORES_FIELD_NUMBER: _ClassVar[int]
    SCARCE_FIELD_NUMBER: _ClassVar[int]
    TERM_SCORES_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    request_id: str
    household: str
    member: str
    channel: str
    decided_at: _timestamp_pb2.Timestamp
    moments: _containers.RepeatedCompositeFieldContainer[Moment]
    playbook_version: str
    model_version: str
    feature_schema_hash: str
    degraded: bool
    withheld: bool
    propensity: float
    reasons: _containers.RepeatedScalarFieldContainer[str]
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    slate: _containers.RepeatedCompositeFieldContainer[_decision_pb2.Action]
    features: _containers.RepeatedCompositeFieldContainer[FeatureValue]
    send_channel: str
    send_before: _timestamp_pb2.Timestamp
    answered: _decision_pb2.Action
    stands: str
    time_zone: str
    playbook_missing: bool
    currency: str
    scored_by: _decision_pb2.ScoredBy
    send_not_before: _timestamp_pb2.Timestamp
    fallback_channels: _containers.RepeatedScalarFieldContainer[str]
    withdrawals: _containers.RepeatedCompositeFieldContainer[Withdrawal]
    handed_over_channel: str
    handed_over_at: _timestamp_pb2.Timestamp
    rules: _containers.RepeatedCompositeFieldContainer[RuleNote]
    arms: _containers.RepeatedCompositeFieldContainer[Assignment]
    ghosts: _containers.RepeatedCompositeFieldContainer[Ghost]
    shadow_scores: _containers.RepeatedCompositeFieldContainer[ShadowScore]
    scarce: _containers.RepeatedCompositeFieldContainer[Scarce]
    term_scores: _containers.RepeatedCompositeFieldContainer[TermScores]
    def __init__(self, decision_id: _Optional[str] = ..., request_id: _Optional[str] = ..., household: _Optional[str] = ..., member: _Optional[str] = ..., channel: _Optional[str] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., moments: _Optional[_Iterable[_Union[Moment, _Mapping]]] = ..., playbook_version: _Optional[str] = ..., model_version: _Optional[str] = ..., feature_schema_hash: _Optional[str] = ..., degraded: _Optional[bool] = ..., withheld: _Optional[bool] = ..., propensity: _Optional[float] = ..., reasons: _Optional[_Iterable[str]] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., slate: _Optional[_Iterable[_Union[_decision_pb2.Action, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[FeatureValue, _Mapping]]] = ..., send_channel: _Optional[str] = ..., send_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., answered: _Optional[_Union[_decision_pb2.Action, _Mapping]] = ..., stands: _Optional[str] = ..., time_zone: _Optional[str] = ..., playbook_missing: _Optional[bool] = ..., currency: _Optional[str] = ..., scored_by: _Optional[_Union[_decision_pb2.ScoredBy, str]] = ..., send_not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., fallback_channels: _Optional[_Iterable[str]] = ..., withdrawals: _Optional[_Iterable[_Union[Withdrawal, _Mapping]]] = ..., handed_over_channel: _Optional[str] = ..., handed_over_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rules: _Optional[_Iterable[_Union[RuleNote, _Mapping]]] = ..., arms: _Optional[_Iterable[_Union[Assignment, _Mapping]]] = ..., ghosts: _Optional[_Iterable[_Union[Ghost, _Mapping]]] = ..., shadow_scores: _Optional[_Iterable[_Union[ShadowScore, _Mapping]]] = ..., scarce: _Optional[_Iterable[_Union[Scarce, _Mapping]]] = ..., term_scores: _Optional[_Iterable[_Union[TermScores, _Mapping]]] = ...) -> None: ...

class TermScores(_message.Message):
    __slots__ = ("term", "model_version", "scored_by", "degraded", "why", "scores")
    TERM_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SCORED_BY_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    term: str
    model_version: str
    scored_by: _decision_pb2.ScoredBy
    degraded: bool
    why: str
    scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, term: _Optional[str] = ..., model_version: _Optional[str] = ..., scored_by: _Optional[_Union[_decision_pb2.ScoredBy, str]] = ..., degraded: _Optional[bool] = ..., why: _Optional[str] = ..., scores: _Optional[_Iterable[float]] = ...) -> None: ...

class Scarce(_message.Message):
    __slots__ = ("budget", "price", "left", "share", "used")
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    budget: str
    price: float
    left: int
    share: int
    used: int
    def __init__(self, budget: _Optional[str] = ..., price: _Optional[float] = ..., left: _Optional[int] = ..., share: _Optional[int] = ..., used: _Optional[int] = ...) -> None: ...

class RuleNote(_message.Message):
    __slots__ = ("rule", "effect", "offer", "channel", "contacts", "passes_at")
    RULE_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    CONTACTS_FIELD_NUMBER: _ClassVar[int]
    PASSES_AT_FIELD_NUMBER: _ClassVar[int]
    rule: str
    effect: str
    offer: str
    channel: str
    contacts: _containers.RepeatedScalarFieldContainer[str]
    passes_at: _timestamp_pb2.Timestamp
    def __init__(self, rule: _Optional[str] = ..., effect: _Optional[str] = ..., offer: _Optional[str] = ..., channel: _Optional[str] = ..., contacts: _Optional[_Iterable[str]] = ..., passes_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ShadowScore(_message.Message):
    __slots__ = ("model_version", "offer", "score", "term")
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    model_version: str
    offer: str
    score: float
    term: str
    def __init__(self, model_version: _Optional[str] = ..., offer: _Optional[str] = ..., score: _Optional[float] = ..., term: _Optional[str] = ...) -> None: ...

class Withdrawal(_message.Message):
    __slots__ = ("action_id", "reason")
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    action_id: str
    reason: str
    def __init__(self, action_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("offer", "score", "value", "vetoes", "terms")
    OFFER_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VETOES_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    offer: str
    score: float
    value: float
    vetoes: _containers.RepeatedScalarFieldContainer[str]
    terms: Terms
    def __init__(self, offer: _Optional[str] = ..., score: _Optional[float] = ..., value: _Optional[float] = ..., vetoes: _Optional[_Iterable[str]] = ..., terms: _Optional[_Union[Terms, _Mapping]] = ...) -> None: ...

class Terms(_message.Message):
    __slots__ = ("gain", "cost", "prices", "probability", "shown", "increment", "gross", "context", "lever", "uplift", "stay")
    GAIN_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    INCREMENT_FIELD_NUMBER: _ClassVar[int]
    GROSS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    LEVER_FIELD_NUMBER: _ClassVar[int]
    UPLIFT_FIELD_NUMBER: _ClassVar[int]
    STAY_FIELD_NUMBER: _ClassVar[int]
    gain: float
    cost: float
    prices: _containers.RepeatedCompositeFieldContainer[Price]
    probability: float
    shown: int
    increment: float
    gross: bool
    context: float
    lever: float
    uplift: float
    stay: float
    def __init__(self, gain: _Optional[float] = ..., cost: _Optional[float] = ..., prices: _Optional[_Iterable[_Union[Price, _Mapping]]] = ..., probability: _Optional[float] = ..., shown: _Optional[int] = ..., increment: _Optional[float] = ..., gross: _Optional[bool] = ..., context: _Optional[float] = ..., lever: _Optional[float] = ..., uplift: _Optional[float] = ..., stay: _Optional[float] = ...) -> None: ...

class Price(_message.Message):
    __slots__ = ("of", "minor")
    OF_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    of: str
    minor: float
    def __init__(self, of: _Optional[str] = ..., minor: _Optional[float] = ...) -> None: ...
