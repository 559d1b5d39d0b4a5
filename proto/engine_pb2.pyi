from skipjoin.proto import admin_pb2 as _admin_pb2
from skipjoin.proto import job_pool_pb2 as _job_pool_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DoorFrame(_message.Message):
    __slots__ = ("hello", "events", "stop")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    events: EventBatch
    stop: Stop
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., events: _Optional[_Union[EventBatch, _Mapping]] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ...) -> None: ...

class EngineFrame(_message.Message):
    __slots__ = ("ready", "effects", "beat", "start_failed")
    READY_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    START_FAILED_FIELD_NUMBER: _ClassVar[int]
    ready: Ready
    effects: EffectBatch
    beat: Beat
    start_failed: StartFailed
    def __init__(self, ready: _Optional[_Union[Ready, _Mapping]] = ..., effects: _Optional[_Union[EffectBatch, _Mapping]] = ..., beat: _Optional[_Union[Beat, _Mapping]] = ..., start_failed: _Optional[_Union[StartFailed, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("incarnation", "protocol", "settings_json")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_JSON_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    protocol: int
    settings_json: str
    def __init__(self, incarnation: _Optional[int] = ..., protocol: _Optional[int] = ..., settings_json: _Optional[str] = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Ready(_message.Message):
    __slots__ = ("incarnation", "protocol", "pid", "generation", "device_pages", "host_pages", "page_tokens", "page_bytes", "max_context_tokens", "vocab_size", "policy", "facts_json")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_PAGES_FIELD_NUMBER: _ClassVar[int]
    HOST_PAGES_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    VOCAB_SIZE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    FACTS_JSON_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    protocol: int
    pid: int
    generation: int
    device_pages: int
    host_pages: int
    page_tokens: int
    page_bytes: int
    max_context_tokens: int
    vocab_size: int
    policy: str
    facts_json: str
    def __init__(self, incarnation: _Optional[int] = ..., protocol: _Optional[int] = ..., pid: _Optional[int] = ..., generation: _Optional[int] = ..., device_pages: _Optional[int] = ..., host_pages: _Optional[int] = ..., page_tokens: _Optional[int] = ..., page_bytes: _Optional[int] = ..., max_context_tokens: _Optional[int] = ..., vocab_size: _Optional[int] = ..., policy: _Optional[str] = ..., facts_json: _Optional[str] = ...) -> None: ...

class StartFailed(_message.Message):
    __slots__ = ("incarnation", "failure")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    failure: _job_pool_pb2.Failure
    def __init__(self, incarnation: _Optional[int] = ..., failure: _Optional[_Union[_job_pool_pb2.Failure, _Mapping]] = ...) -> None: ...

class Beat(_message.Message):
    __slots__ = ("incarnation", "seq", "now_ns")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    NOW_NS_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    seq: int
    now_ns: int
    def __init__(self, incarnation: _Optional[int] = ..., seq: _Optional[int] = ..., now_ns: _Optional[int] = ...) -> None: ...

class EventBatch(_message.Message):
    __slots__ = ("incarnation", "events")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    events: _containers.RepeatedCompositeFieldContainer[EngineEvent]
    def __init__(self, incarnation: _Optional[int] = ..., events: _Optional[_Iterable[_Union[EngineEvent, _Mapping]]] = ...) -> None: ...

class EngineEvent(_message.Message):
    __slots__ = ("submitted", "prompt_arrived", "cancel_requested", "policy_chosen", "executor_reset", "account_asked", "snapshot_asked")
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    PROMPT_ARRIVED_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    POLICY_CHOSEN_FIELD_NUMBER: _ClassVar[int]
    EXECUTOR_RESET_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ASKED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ASKED_FIELD_NUMBER: _ClassVar[int]
    submitted: Submitted
    prompt_arrived: PromptArrived
    cancel_requested: CancelRequested
    policy_chosen: PolicyChosen
    executor_reset: ExecutorReset
    account_asked: AccountAsked
    snapshot_asked: SnapshotAsked
    def __init__(self, submitted: _Optional[_Union[Submitted, _Mapping]] = ..., prompt_arrived: _Optional[_Union[PromptArrived, _Mapping]] = ..., cancel_requested: _Optional[_Union[CancelRequested, _Mapping]] = ..., policy_chosen: _Optional[_Union[PolicyChosen, _Mapping]] = ..., executor_reset: _Optional[_Union[ExecutorReset, _Mapping]] = ..., account_asked: _Optional[_Union[AccountAsked, _Mapping]] = ..., snapshot_asked: _Optional[_Union[SnapshotAsked, _Mapping]] = ...) -> None: ...

class Submitted(_message.Message):
    __slots__ = ("handle", "prompt_tokens", "sampling", "arrival_ns", "tenant", "prompt", "has_prompt", "generated", "deadline_ns", "alone", "output_tokens")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    ARRIVAL_NS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    HAS_PROMPT_FIELD_NUMBER: _ClassVar[int]
    GENERATED_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_NS_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    handle: int
    prompt_tokens: int
    sampling: _job_pool_pb2.SamplingParams
    arrival_ns: int
    tenant: str
    prompt: bytes
    has_prompt: bool
    generated: bytes
    deadline_ns: int
    alone: bool
    output_tokens: int
    def __init__(self, handle: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., sampling: _Optional[_Union[_job_pool_pb2.SamplingParams, _Mapping]] = ..., arrival_ns: _Optional[int] = ..., tenant: _Optional[str] = ..., prompt: _Optional[bytes] = ..., has_prompt: _Optional[bool] = ..., generated: _Optional[bytes] = ..., deadline_ns: _Optional[int] = ..., alone: _Optional[bool] = ..., output_tokens: _Optional[int] = ...) -> None: ...

class PromptArrived(_message.Message):
    __slots__ = ("handle", "prompt")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    handle: int
    prompt: bytes
    def __init__(self, handle: _Optional[int] = ..., prompt: _Optional[bytes] = ...) -> None: ...

class CancelRequested(_message.Message):
    __slots__ = ("handle",)
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    handle: int
    def __init__(self, handle: _Optional[int] = ...) -> None: ...

class PolicyChosen(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: str
    def __init__(self, policy: _Optional[str] = ...) -> None: ...

class ExecutorReset(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: int
    def __init__(self, generation: _Optional[int] = ...) -> None: ...

class AccountAsked(_message.Message):
    __slots__ = ("handle", "question")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    handle: int
    question: int
    def __init__(self, handle: _Optional[int] = ..., question: _Optional[int] = ...) -> None: ...

class SnapshotAsked(_message.Message):
    __slots__ = ("question",)
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    question: int
    def __init__(self, question: _Optional[int] = ...) -> None: ...

class EffectBatch(_message.Message):
    __slots__ = ("incarnation", "stats", "tokens", "effects")
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_FIELD_NUMBER: _ClassVar[int]
    incarnation: int
    stats: TurnStats
    tokens: TokensEmitted
    effects: _containers.RepeatedCompositeFieldContainer[EngineEffect]
    def __init__(self, incarnation: _Optional[int] = ..., stats: _Optional[_Union[TurnStats, _Mapping]] = ..., tokens: _Optional[_Union[TokensEmitted, _Mapping]] = ..., effects: _Optional[_Iterable[_Union[EngineEffect, _Mapping]]] = ...) -> None: ...

class TurnStats(_message.Message):
    __slots__ = ("seq", "now_ns", "decode_jobs", "prefill_tokens", "live_jobs", "free_pages", "pages_out", "pages_in", "planning_ns", "predicted_ns", "measured_ns")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    NOW_NS_FIELD_NUMBER: _ClassVar[int]
    DECODE_JOBS_FIELD_NUMBER: _ClassVar[int]
    PREFILL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LIVE_JOBS_FIELD_NUMBER: _ClassVar[int]
    FREE_PAGES_FIELD_NUMBER: _ClassVar[int]
    PAGES_OUT_FIELD_NUMBER: _ClassVar[int]
    PAGES_IN_FIELD_NUMBER: _ClassVar[int]
    PLANNING_NS_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_NS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_NS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    now_ns: int
    decode_jobs: int
    prefill_tokens: int
    live_jobs: int
    free_pages: int
    pages_out: int
    pages_in: int
    planning_ns: int
    predicted_ns: int
    measured_ns: int
    def __init__(self, seq: _Optional[int] = ..., now_ns: _Optional[int] = ..., decode_jobs: _Optional[int] = ..., prefill_tokens: _Optional[int] = ..., live_jobs: _Optional[int] = ..., free_pages: _Optional[int] = ..., pages_out: _Optional[int] = ..., pages_in: _Optional[int] = ..., planning_ns: _Optional[int] = ..., predicted_ns: _Optional[int] = ..., measured_ns: _Optional[int] = ...) -> None: ...

class TokensEmitted(_message.Message):
    __slots__ = ("handles", "positions", "tokens", "has_logprobs", "rows", "logprobs")
    HANDLES_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    HAS_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    handles: bytes
    positions: bytes
    tokens: bytes
    has_logprobs: bool
    rows: _containers.RepeatedScalarFieldContainer[int]
    logprobs: _containers.RepeatedCompositeFieldContainer[_job_pool_pb2.TokenLogprobs]
    def __init__(self, handles: _Optional[bytes] = ..., positions: _Optional[bytes] = ..., tokens: _Optional[bytes] = ..., has_logprobs: _Optional[bool] = ..., rows: _Optional[_Iterable[int]] = ..., logprobs: _Optional[_Iterable[_Union[_job_pool_pb2.TokenLogprobs, _Mapping]]] = ...) -> None: ...

class EngineEffect(_message.Message):
    __slots__ = ("started", "preempted", "resumed", "level_changed", "recomputed", "finished", "prompts_needed", "account_given", "snapshot_given")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PREEMPTED_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    LEVEL_CHANGED_FIELD_NUMBER: _ClassVar[int]
    RECOMPUTED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_GIVEN_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_GIVEN_FIELD_NUMBER: _ClassVar[int]
    started: Placed
    preempted: Placed
    resumed: Placed
    level_changed: LevelChanged
    recomputed: Recomputed
    finished: Finished
    prompts_needed: PromptsNeeded
    account_given: AccountGiven
    snapshot_given: SnapshotGiven
    def __init__(self, started: _Optional[_Union[Placed, _Mapping]] = ..., preempted: _Optional[_Union[Placed, _Mapping]] = ..., resumed: _Optional[_Union[Placed, _Mapping]] = ..., level_changed: _Optional[_Union[LevelChanged, _Mapping]] = ..., recomputed: _Optional[_Union[Recomputed, _Mapping]] = ..., finished: _Optional[_Union[Finished, _Mapping]] = ..., prompts_needed: _Optional[_Union[PromptsNeeded, _Mapping]] = ..., account_given: _Optional[_Union[AccountGiven, _Mapping]] = ..., snapshot_given: _Optional[_Union[SnapshotGiven, _Mapping]] = ...) -> None: ...

class Placed(_message.Message):
    __slots__ = ("handle", "level")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    handle: int
    level: int
    def __init__(self, handle: _Optional[int] = ..., level: _Optional[int] = ...) -> None: ...

class LevelChanged(_message.Message):
    __slots__ = ("handle", "old", "new", "cause")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    OLD_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    handle: int
    old: int
    new: int
    cause: _job_pool_pb2.LevelCause
    def __init__(self, handle: _Optional[int] = ..., old: _Optional[int] = ..., new: _Optional[int] = ..., cause: _Optional[_Union[_job_pool_pb2.LevelCause, str]] = ...) -> None: ...

class Recomputed(_message.Message):
    __slots__ = ("handle", "tokens")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    handle: int
    tokens: int
    def __init__(self, handle: _Optional[int] = ..., tokens: _Optional[int] = ...) -> None: ...

class Finished(_message.Message):
    __slots__ = ("handle", "reason", "output_tokens", "account", "failure")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    handle: int
    reason: _job_pool_pb2.FinishReason
    output_tokens: int
    account: _job_pool_pb2.JobAccount
    failure: _job_pool_pb2.Failure
    def __init__(self, handle: _Optional[int] = ..., reason: _Optional[_Union[_job_pool_pb2.FinishReason, str]] = ..., output_tokens: _Optional[int] = ..., account: _Optional[_Union[_job_pool_pb2.JobAccount, _Mapping]] = ..., failure: _Optional[_Union[_job_pool_pb2.Failure, _Mapping]] = ...) -> None: ...

class PromptsNeeded(_message.Message):
    __slots__ = ("handles",)
    HANDLES_FIELD_NUMBER: _ClassVar[int]
    handles: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, handles: _Optional[_Iterable[int]] = ...) -> None: ...

class AccountGiven(_message.Message):
    __slots__ = ("question", "handle", "account", "level", "phase")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    question: int
    handle: int
    account: _job_pool_pb2.JobAccount
    level: int
    phase: str
    def __init__(self, question: _Optional[int] = ..., handle: _Optional[int] = ..., account: _Optional[_Union[_job_pool_pb2.JobAccount, _Mapping]] = ..., level: _Optional[int] = ..., phase: _Optional[str] = ...) -> None: ...

class SnapshotGiven(_message.Message):
    __slots__ = ("question", "policy", "levels", "kv", "live_jobs", "running_jobs")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    KV_FIELD_NUMBER: _ClassVar[int]
    LIVE_JOBS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_FIELD_NUMBER: _ClassVar[int]
    question: int
    policy: str
    levels: _containers.RepeatedCompositeFieldContainer[_admin_pb2.LevelDepth]
    kv: _admin_pb2.KvDepth
    live_jobs: int
    running_jobs: int
    def __init__(self, question: _Optional[int] = ..., policy: _Optional[str] = ..., levels: _Optional[_Iterable[_Union[_admin_pb2.LevelDepth, _Mapping]]] = ..., kv: _Optional[_Union[_admin_pb2.KvDepth, _Mapping]] = ..., live_jobs: _Optional[int] = ..., running_jobs: _Optional[int] = ...) -> None: ...
