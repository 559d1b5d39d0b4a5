"""How much a machine can hold: the device, the precision and the KV pools where a setting leaves
them open.

Owns the defaults of device, dtype and pool sizes, from the free memory after the weights are
loaded. It loads nothing; whoever builds a `TorchExecutor` for a server or for `skipjoin.LLM` asks
it.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch

from ..core.errors import InvalidInput
from ..kernels.layout import KvLayout
from ..kvstore.device.pool import PoolShape
from ..model.weights.loaded import LoadedModel, parse_device, parse_dtype
from ..model.weights.memory import available_bytes

log = logging.getLogger("skipjoin.engine")

AUTO = "auto"
_CUDA_KEPT = 0.10  # of all device memory: activations, workspaces, fragmentation
_CPU_SHARE = 0.30
_HOST_SHARE = 0.30
_HOST_PER_DEVICE = 4


def use_threads(count: int | None, sharing: int = 1) -> None:
    """Let torch compute on `count` CPU threads; None: on both that torch offers, or on all but one
    of more, divided by the ranks that share them. The log says which.

    Door and clients need a processor too, and whoever takes one stops all threads at their next
    barrier. Of two, that costs little beside the half that the model would lose: jobs ended 1.5
    times as fast as with one thread. Of more, one is cheaper than being disturbed.
    """
    offered = torch.get_num_threads()
    if count is None:
        count = offered if offered <= 2 else offered - 1
        why = "all there are" if count == offered else "all but one, which is the door's"
        if sharing > 1:
            count, why = max(1, count // sharing), f"a part of {why}, for {sharing} ranks"
    else:
        why = "as `threads` says"
    torch.set_num_threads(count)
    log.info("The model computes on %d of %d CPU threads: %s.", count, offered, why)


def resolve_device(name: str, rank: int | None = None) -> torch.device:
    """The device of that name; `auto` is CUDA where there is one. `rank`: of several, each takes
    the CUDA device of its own number. Raises InvalidInput.
    """
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if rank is not None and name == "cuda":
        name = f"cuda:{rank}"
    return parse_device(name)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision of that name; `auto` is bfloat16 where the device computes in it, else float32.
    Raises InvalidInput.
    """
    if name == AUTO:
        return torch.bfloat16 if device.type == "cuda" and _has_bfloat16(device) else torch.float32
    return parse_dtype(name)


def memory_now(device: torch.device) -> int:
    """Bytes that this process has taken: of a GPU's memory, else of the machine's."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # not Linux
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def pool_shape(
    model: LoadedModel,
    *,
    kv_tokens: int | None,
    host_kv_tokens: int | None,
    max_batch: int,
    page_tokens: int = 16,
    sharing: int = 1,
) -> PoolShape:
    """Pages for `kv_tokens` and `host_kv_tokens`; None: what memory has room for, but no more than
    two full batches could use. `sharing`: so many ranks share this machine's memory.

    Raises InvalidInput when not even one page fits, or when what was asked for is more than there
    is.
    """
    config = model.config
    layout = KvLayout(config.layers, config.kv_heads, page_tokens, config.head_dim)
    page_bytes = layout.page_bytes(model.dtype)
    useful = 2 * max_batch * -(-config.max_context_tokens // page_tokens)
    fitting = _device_bytes(model.device, sharing) // page_bytes
    pages = min(useful, fitting) if kv_tokens is None else kv_tokens // page_tokens
    if pages < 1:
        raise InvalidInput(
            "The device has no room for a page of KV.", field="kv_tokens", limit=f"at least {page_tokens} tokens"
        )
    available = available_bytes() // sharing
    fitting = min(_HOST_PER_DEVICE * pages, int(available * _HOST_SHARE) // page_bytes)
    host_pages = fitting if host_kv_tokens is None else host_kv_tokens // page_tokens
    # Host memory is taken page by page as it is used: what is not there must be told now, not when
    # a job runs.
    on_host = {"host_kv_tokens": host_pages} | ({"kv_tokens": pages} if model.device.type == "cpu" else {})
    if sum(on_host.values()) * page_bytes > available:
        field = max(on_host, key=lambda name: on_host[name])
        raise InvalidInput(
            f"{' and '.join(on_host)} ask for {sum(on_host.values()) * page_bytes / 2**30:.1f} GiB of host memory.",
            field=field,
            limit=f"the {available / 2**30:.1f} GiB that can be had",
        )
    return PoolShape(pages, host_pages, page_tokens)


def _has_bfloat16(device: torch.device) -> bool:
    """From Ampere on. torch itself says yes for older ones too, which it lets pretend, and asks the
    current device, not this one.
    """
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _device_bytes(device: torch.device, sharing: int) -> int:
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what loading the weights left in torch's hands is free as well
        free, total = torch.cuda.mem_get_info(device)
        return max(0, free - int(total * _CUDA_KEPT))
    return int(available_bytes() * _CPU_SHARE) // sharing
