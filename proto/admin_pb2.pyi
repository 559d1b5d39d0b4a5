import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from skipjoin.proto import job_pool_pb2 as _job_pool_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ServerStatus(_message.Message):
    __slots__ = ("version", "policy", "model", "device", "job_pool", "durable", "draining", "engine_ready", "incarnation", "engine_restarts", "uptime_ns", "accepted_jobs", "claimed_jobs", "final_jobs", "live_jobs", "running_jobs")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    JOB_POOL_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    ENGINE_READY_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ENGINE_RESTARTS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_NS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_JOBS_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_JOBS_FIELD_NUMBER: _ClassVar[int]
    FINAL_JOBS_FIELD_NUMBER: _ClassVar[int]
    LIVE_JOBS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_FIELD_NUMBER: _ClassVar[int]
    version: str
    policy: str
    model: str
    device: str
    job_pool: str
    durable: bool
    draining: bool
    engine_ready: bool
    incarnation: int
    engine_restarts: int
    uptime_ns: int
    accepted_jobs: int
    claimed_jobs: int
    final_jobs: int
    live_jobs: int
    running_jobs: int
    def __init__(self, version: _Optional[str] = ..., policy: _Optional[str] = ..., model: _Optional[str] = ..., device: _Optional[str] = ..., job_pool: _Optional[str] = ..., durable: _Optional[bool] = ..., draining: _Optional[bool] = ..., engine_ready: _Optional[bool] = ..., incarnation: _Optional[int] = ..., engine_restarts: _Optional[int] = ..., uptime_ns: _Optional[int] = ..., accepted_jobs: _Optional[int] = ..., claimed_jobs: _Optional[int] = ..., final_jobs: _Optional[int] = ..., live_jobs: _Optional[int] = ..., running_jobs: _Optional[int] = ...) -> None: ...

class LevelDepth(_message.Message):
    __slots__ = ("level", "jobs", "running", "oldest_wait_ns")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    OLDEST_WAIT_NS_FIELD_NUMBER: _ClassVar[int]
    level: int
    jobs: int
    running: int
    oldest_wait_ns: int
    def __init__(self, level: _Optional[int] = ..., jobs: _Optional[int] = ..., running: _Optional[int] = ..., oldest_wait_ns: _Optional[int] = ...) -> None: ...

class KvDepth(_message.Message):
    __slots__ = ("device_total", "device_free", "device_owned", "device_in_flight", "host_total", "host_free", "host_owned", "host_in_flight", "clean_pages")
    DEVICE_TOTAL_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FREE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_OWNED_FIELD_NUMBER: _ClassVar[int]
    DEVICE_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    HOST_TOTAL_FIELD_NUMBER: _ClassVar[int]
    HOST_FREE_FIELD_NUMBER: _ClassVar[int]
    HOST_OWNED_FIELD_NUMBER: _ClassVar[int]
    HOST_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    CLEAN_PAGES_FIELD_NUMBER: _ClassVar[int]
    device_total: int
    device_free: int
    device_owned: int
    device_in_flight: int
    host_total: int
    host_free: int
    host_owned: int
    host_in_flight: int
    clean_pages: int
    def __init__(self, device_total: _Optional[int] = ..., device_free: _Optional[int] = ..., device_owned: _Optional[int] = ..., device_in_flight: _Optional[int] = ..., host_total: _Optional[int] = ..., host_free: _Optional[int] = ..., host_owned: _Optional[int] = ..., host_in_flight: _Optional[int] = ..., clean_pages: _Optional[int] = ...) -> None: ...

class LiveJob(_message.Message):
    __slots__ = ("phase", "level", "account")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    phase: str
    level: int
    account: _job_pool_pb2.JobAccount
    def __init__(self, phase: _Optional[str] = ..., level: _Optional[int] = ..., account: _Optional[_Union[_job_pool_pb2.JobAccount, _Mapping]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: ServerStatus
    def __init__(self, status: _Optional[_Union[ServerStatus, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "states", "tenant")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[_job_pool_pb2.JobState]
    tenant: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[_job_pool_pb2.JobState, str]]] = ..., tenant: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_job_pool_pb2.Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[_job_pool_pb2.Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job", "live")
    JOB_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    job: _job_pool_pb2.Job
    live: LiveJob
    def __init__(self, job: _Optional[_Union[_job_pool_pb2.Job, _Mapping]] = ..., live: _Optional[_Union[LiveJob, _Mapping]] = ...) -> None: ...

class GetQueuesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetQueuesResponse(_message.Message):
    __slots__ = ("policy", "levels", "accepted_jobs")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_JOBS_FIELD_NUMBER: _ClassVar[int]
    policy: str
    levels: _containers.RepeatedCompositeFieldContainer[LevelDepth]
    accepted_jobs: int
    def __init__(self, policy: _Optional[str] = ..., levels: _Optional[_Iterable[_Union[LevelDepth, _Mapping]]] = ..., accepted_jobs: _Optional[int] = ...) -> None: ...

class GetKvRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetKvResponse(_message.Message):
    __slots__ = ("kv", "page_tokens", "page_bytes")
    KV_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    kv: KvDepth
    page_tokens: int
    page_bytes: int
    def __init__(self, kv: _Optional[_Union[KvDepth, _Mapping]] = ..., page_tokens: _Optional[int] = ..., page_bytes: _Optional[int] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("job_id", "reason")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    reason: str
    def __init__(self, job_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pool_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pool_pb2.Job, _Mapping]] = ...) -> None: ...

class SetPolicyRequest(_message.Message):
    __slots__ = ("policy",)
    POLICY_FIELD_NUMBER: _ClassVar[int]
    policy: str
    def __init__(self, policy: _Optional[str] = ...) -> None: ...

class SetPolicyResponse(_message.Message):
    __slots__ = ("previous", "policy")
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    previous: str
    policy: str
    def __init__(self, previous: _Optional[str] = ..., policy: _Optional[str] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("timeout",)
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    timeout: _duration_pb2.Duration
    def __init__(self, timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("live_jobs",)
    LIVE_JOBS_FIELD_NUMBER: _ClassVar[int]
    live_jobs: int
    def __init__(self, live_jobs: _Optional[int] = ...) -> None: ...
