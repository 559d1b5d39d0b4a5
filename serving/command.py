"""`skipjoin serve`.

Owns the flags (made from the settings model), the one line at start and the exit code. It does no
work: wiring makes the door, the door runs. `cli.py` calls it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from ..core.clock import MonotonicClock
from .door.collector import collect_rarely
from .door.pauses import Pauses, loop_with
from .door.spare import Spare
from .facts import EngineFacts
from .flags import add_flags, settings_from
from .logs import log_to_stderr
from .settings import ServeSettings, located, split_address
from .worker.command import be_rank


def configure(parser: argparse.ArgumentParser) -> None:
    """Add one flag per setting."""
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until drained. Raises SkipjoinError for what keeps the server from starting or ends it."""
    settings = settings_from(args)
    if settings.ranks == "env" and os.environ.get("RANK", "0") != "0":  # torchrun runs one command everywhere
        model = None if settings.model is None else Path(settings.model)
        return be_rank(settings.ranks_listen, settings.ranks_secret, model, settings.ranks_wait_s, os.environ)
    log_to_stderr(settings.log_level, settings.log_format)
    settings = located(settings)
    # Its imports take as long as the door's: they go on side by side.
    spare = _spare(settings)
    pauses = Pauses(MonotonicClock())
    try:
        with asyncio.Runner(loop_factory=loop_with(pauses)) as runner:
            runner.run(_serve(settings, spare, pauses))
    finally:
        if spare is not None:
            spare.kill()
    return 0


def _spare(settings: ServeSettings) -> Spare | None:
    from .door.spare import spare_for

    try:
        return spare_for(settings)
    except OSError:
        return None  # `engines` tries again, and says what is wrong


async def _serve(settings: ServeSettings, spare: Spare | None, pauses: Pauses) -> None:
    from .wiring import build_door

    def on_ready(facts: EngineFacts, port: int, http_port: int | None) -> None:
        print(start_line(settings, facts, port, http_port), flush=True)

    door = await build_door(settings, on_ready, spare, pauses.rested)
    collect_rarely()
    if not await door.run(check=settings.check) and settings.check:
        raise KeyboardInterrupt  # a signal came first: nothing was checked


def start_line(settings: ServeSettings, facts: EngineFacts, port: int, http_port: int | None) -> str:
    """One line: what is served, where, and with how much room."""
    pool = "memory (NOT durable: acknowledged jobs are gone with the process)"
    if settings.pool_path is not None:
        pool = f"durable in {settings.pool_path}"
    parts = [
        f"skipjoin serves {facts.words.model_name} on {facts.words.device} with {facts.policy}",
        f"gRPC {split_address(settings.listen)[0]}:{port}",
        *([f"HTTP {split_address(settings.http_listen or '')[0]}:{http_port}"] if http_port is not None else []),
        f"KV {facts.executor.device_pages} pages = {facts.device_tokens} tokens",
        f"{facts.words.max_batch} concurrent jobs",
        f"host KV {facts.host_tokens} tokens",
        f"jobs {pool}",
    ]
    return " | ".join(parts)
