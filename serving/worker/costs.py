"""The cost model of a server: a profile that was given, one estimated from the device's speeds, one
measured before, or one measured now.

Owns the cache of coarse profiles, by model, device, dtype, threads and computing code. It neither
measures nor fits; profiler does. torch_parts asks once at start, before the engine exists.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from pathlib import Path

from ...core.clock import Clock
from ...core.errors import InvalidProfile
from ...core.executor import Executor, ExecutorFacts
from ...cost.profiles import load_profile
from ...cost.schema import MAX_FILE_BYTES, Profile, parse_profile, render_profile
from ...profiler.measure import measure, profile_of
from ...profiler.measure.device import estimate
from ..settings import ServeSettings
from .computing import ROOFLINE

log = logging.getLogger("skipjoin.engine")

COARSE_S = 6.0
_CACHE_VERSION = 3
_KEPT = 64
"""Profiles that stay in the cache; the oldest go."""


def cost_profile(
    settings: ServeSettings,
    executor: Executor,
    facts: ExecutorFacts,
    clock: Clock,
    *,
    device: str,
    dtype: str,
    code: str,
) -> tuple[Profile, str]:
    """The profile to plan with, and words about where it comes from. `executor` has started and
    holds no job. `code` names the code that computes: times of other code are measured again.

    Raises InvalidProfile for a profile that is another model's, or when the pool is too small to
    measure.
    """
    if settings.profile == ROOFLINE:
        assert settings.folder is not None, "settings ask for a model with this executor"
        kv_tokens = facts.device_pages * facts.page_tokens
        threads = settings.threads
        profile = estimate(settings.folder, device=device, dtype=dtype, threads=threads, kv_tokens=kv_tokens)
        _check_model(profile, facts, ROOFLINE)
        return profile, "estimated from the speeds of memory and matrices"
    if settings.profile is not None:
        profile = load_profile(settings.profile)
        _check_model(profile, facts, settings.profile)
        return profile, settings.profile
    path = _cache_path(settings, device, dtype, code)
    cached = _read(path, facts)
    if cached is not None:
        return cached, "measured before"
    log.info("measuring a coarse cost profile for about %.0f s; --profile FILE saves that", COARSE_S)
    sweep = measure(executor, facts, clock, max_batch=settings.max_batch, budget_s=COARSE_S)
    profile = profile_of(sweep, facts, model_name=settings.names[0], device=device, dtype=dtype)
    _write(path, profile)
    return profile, "measured at start"


def _check_model(profile: Profile, facts: ExecutorFacts, name: str) -> None:
    token_bytes = facts.page_bytes // facts.page_tokens
    if profile.token_bytes != token_bytes:
        raise InvalidProfile(
            f"Profile {name} is of another model, {profile.model_name}: kv.bytes_per_token is "
            f"{profile.token_bytes} and must be {token_bytes}.",
            field="kv.bytes_per_token",
            limit=str(token_bytes),
        )


def _cache_path(settings: ServeSettings, device: str, dtype: str, code: str) -> Path:
    """A file named for everything that the times depend on."""
    assert settings.folder is not None, "only a model is measured"
    config = (settings.folder / "config.json").read_bytes()
    told = [
        _CACHE_VERSION,
        code,
        hashlib.sha256(config).hexdigest(),
        device,
        dtype,
        settings.threads,
        settings.max_batch,
    ]
    told += [platform.node(), platform.machine(), os.cpu_count()]
    if device != "cpu":
        told.append(settings.cuda_graphs)
    if settings.tensor_parallel > 1:
        told.append(["ranks", settings.tensor_parallel])
    if settings.pipeline_parallel > 1:
        told.append(["stages", settings.pipeline_parallel])
    name = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "skipjoin" / "profiles" / f"{name}.json"


def _read(path: Path, facts: ExecutorFacts) -> Profile | None:
    """What was measured before; anything that is wrong with it means measuring again."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        profile = parse_profile(path.read_bytes(), "in the cache")
        _check_model(profile, facts, "in the cache")
    except (OSError, InvalidProfile):
        return None
    return profile


def _write(path: Path, profile: Profile) -> None:
    """Keep it for the next start; a cache that cannot be written costs seconds, not the server."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(render_profile(profile), encoding="utf-8")
        partial.replace(path)
        for old in sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)[:-_KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.warning("the cost profile could not be cached: %s", error.strerror)
