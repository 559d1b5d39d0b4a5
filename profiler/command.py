"""`skipjoin profile`: measure what iterations cost here, import or estimate what they cost
elsewhere, and look at profiles.

Owns the flags and the output. It knows how to load a model for measuring only inside `run`;
`measure` sweeps, `sources` reads what others published, `roofline` estimates, `fit` explains,
`schema` writes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..console.output_file import place
from ..core.errors import InvalidInput
from ..cost.profiles import load_profile, profile_names
from ..cost.schema import FitError, Profile, render_profile
from .sources.detect import FORMATS, read_source
from .sources.reading import Wish

REHEARSAL_SHARE = 0.5
"""Of the budget; the sweep has the rest."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `profile` and its sub-commands."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    take = actions.add_parser("measure", help="time iterations of a model on this machine and write a profile")
    take.add_argument("--model", required=True, metavar="MODEL", help="a model folder, or its id on the hub (org/name)")
    take.add_argument("--revision", metavar="NAME", help="branch, tag or commit of a model of the hub (default: main)")
    take.add_argument("--out", required=True, metavar="FILE", help="where to write the profile")
    take.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:N (default: auto)")
    take.add_argument("--dtype", default="auto", metavar="DTYPE", help="auto, float32, bfloat16, ... (default: auto)")
    take.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: as serve)")
    take.add_argument("--max-batch", type=int, default=64, metavar="B", help="largest batch (default: 64)")
    take.add_argument(
        "--max-prefill-tokens", type=int, default=2048, metavar="T", help="longest prefill chunk (default: 2048)"
    )
    take.add_argument("--kv-tokens", type=int, metavar="K", help="device room for KV (default: what fits)")
    take.add_argument("--host-kv-tokens", type=int, metavar="H", help="host room for KV (default: what fits)")
    take.add_argument(
        "--budget-s", type=float, default=30.0, metavar="S", help="about how long to measure (default: 30)"
    )
    _configure_import(actions.add_parser("import", help="read published measurements into a profile"))
    _configure_roofline(actions.add_parser("roofline", help="estimate a profile from a device's speeds"))
    show = actions.add_parser("show", help="print a profile")
    show.add_argument("profile", metavar="NAME|FILE", nargs="?", help="a shipped name or a file; none: list the names")
    show.add_argument(
        "--json", action="store_true", help="print the profile file itself; without a name, the list of names"
    )


def _configure_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="SOURCE", help="a file, a folder, or what the paths of several files begin with"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write the profile")
    parser.add_argument("--format", choices=FORMATS, help="(default: told by the files)")
    parser.add_argument("--model", metavar="NAME", help="which model, where the source holds several")
    parser.add_argument("--device", metavar="NAME", help="what was measured (default: what the files are named for)")
    parser.add_argument("--tp", type=int, metavar="N", help="tensor parallel (default: the smallest in the source)")
    parser.add_argument("--kv-tokens", type=int, metavar="K", help="device room for KV, where the source does not say")
    parser.add_argument(
        "--link-gb-s", type=float, metavar="R", help="GB/s to the host and back (default: moves cost nothing)"
    )


def _configure_roofline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, metavar="MODEL", help="a model folder, or its id on the hub (org/name)"
    )
    parser.add_argument(
        "--revision", metavar="NAME", help="branch, tag or commit of a model of the hub (default: main)"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write the profile")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="measured (default: auto)")
    parser.add_argument("--dtype", default="auto", metavar="DTYPE", help="of weights and KV (default: auto)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: as serve)")
    parser.add_argument("--copy-gb-s", type=float, metavar="R", help="memory speed, instead of measuring")
    parser.add_argument("--gemm-tflops", type=float, metavar="R", help="matrix speed, instead of measuring")
    parser.add_argument("--link-gb-s", type=float, metavar="R", help="speed to the host (default: measured on CUDA)")
    parser.add_argument(
        "--kv-tokens", type=int, default=65_536, metavar="K", help="device room for KV (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, import, estimate or show. Raises InvalidInput, InvalidModel, InvalidProfile,
    ExecutorLost; for a model of the hub NotFound, Denied, Unavailable.
    """
    actions = {"measure": _measure, "import": _import, "roofline": _roofline, "show": _show}
    return actions[args.action](args)


def _import(args: argparse.Namespace) -> int:
    out = _place(args.out)
    _check("tp", args.tp, 1, 1024)
    _check("kv-tokens", args.kv_tokens, 1, 2**40)
    _check("link-gb-s", args.link_gb_s, 1e-3, 1e6)
    wish = Wish(args.model, args.device, args.tp, args.kv_tokens, args.link_gb_s)
    return _written(read_source(args.source, wish, args.format), out, args.out)


def _roofline(args: argparse.Namespace) -> int:
    out = _place(args.out)
    for field in ("copy-gb-s", "gemm-tflops", "link-gb-s"):
        _check(field, getattr(args, field.replace("-", "_")), 1e-6, 1e6)
    _check("kv-tokens", args.kv_tokens, 1, 2**40)
    from ..model.source.model_place import find_model
    from .measure.device import estimate

    place = find_model(args.model, args.revision)
    profile = estimate(
        place.folder,
        device=args.device,
        dtype=args.dtype,
        threads=args.threads,
        kv_tokens=args.kv_tokens,
        copy_gbps=args.copy_gb_s,
        gemm_tflops=args.gemm_tflops,
        link_gbps=args.link_gb_s,
    )
    return _written(profile, out, args.out)


def _check(field: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InvalidInput(f"--{field} is {value:g}.", field=field, limit=f"{low:g}..{high:g}")


def _place(name: str) -> Path:
    """As everywhere, and no device: what is there already is replaced by another file."""
    out = place(name, "out")
    if out.exists() and not out.is_file():
        raise InvalidInput(f"--out {name} is no file, and a profile would take its place.", field="out")
    return out


def _written(profile: Profile, out: Path, name: str) -> int:
    partial = out.with_name(out.name + ".partial")
    partial.write_text(render_profile(profile), encoding="utf-8")
    partial.replace(out)
    print(f"{describe(profile)}\nwritten to {name}")
    return 0


def _show(args: argparse.Namespace) -> int:
    if args.profile is None:
        print(json.dumps(profile_names()) if args.json else "\n".join(profile_names()))
        return 0
    profile = load_profile(args.profile)
    print(render_profile(profile).rstrip() if args.json else describe(profile))
    return 0


def _measure(args: argparse.Namespace) -> int:
    _check("max-batch", args.max_batch, 1, 1024)
    _check("max-prefill-tokens", args.max_prefill_tokens, 1, 1 << 20)
    _check("budget-s", args.budget_s, 1, 3600)
    out = _place(args.out)
    from ..core.clock import MonotonicClock
    from ..executor.capacity import pool_shape, resolve_device, resolve_dtype, use_threads
    from ..executor.runner import TorchExecutor
    from ..model.source.model_place import find_model
    from ..model.weights.loading import load_model
    from .measure import measure, profile_of
    from .rehearsal import rehearse, rehearsed

    place = find_model(args.model, args.revision)
    use_threads(args.threads)
    device = resolve_device(args.device)
    dtype = resolve_dtype(args.dtype, device)
    model = load_model(place.folder, device, dtype)
    shape = pool_shape(model, kv_tokens=args.kv_tokens, host_kv_tokens=args.host_kv_tokens, max_batch=args.max_batch)
    clock = MonotonicClock()
    executor = TorchExecutor(model, shape, clock=clock, graph_rows=args.max_batch)
    try:
        facts = executor.start()
        sweep = measure(
            executor,
            facts,
            clock,
            max_batch=args.max_batch,
            max_prefill_tokens=args.max_prefill_tokens,
            budget_s=args.budget_s * (1 - REHEARSAL_SHARE),
            progress=lambda share: _progress(share * (1 - REHEARSAL_SHARE)),
        )
        words = str(dtype).removeprefix("torch.")
        profile = profile_of(sweep, facts, model_name=place.names[0], device=str(device), dtype=words)
        rehearsal = rehearse(
            executor,
            facts,
            profile.model,
            clock,
            max_batch=args.max_batch,
            max_prefill_tokens=args.max_prefill_tokens,
            seconds=args.budget_s * REHEARSAL_SHARE,
            progress=lambda share: _progress(1 - REHEARSAL_SHARE * (1 - share)),
        )
    finally:
        executor.close()
    profile = rehearsed(profile, sweep.rows, rehearsal)
    return _written(profile, out, args.out)


def _progress(share: float) -> None:
    if sys.stderr.isatty():
        print(f"\rmeasuring {share:4.0%}", end="\n" if share >= 1 else "", file=sys.stderr, flush=True)


def describe(profile: Profile) -> str:
    """A profile in a few lines for a person."""
    model, fit = profile.model, profile.fit
    host = "not stated" if profile.host_kv_tokens is None else f"{profile.host_kv_tokens:,} tokens"
    link_out, link_in = (
        "not stated" if s is None else f"{s:.3g} GB/s" for s in (profile.link_out_gbps, profile.link_in_gbps)
    )
    return "\n".join(
        (
            f"{profile.model_name} on {profile.device}, {profile.dtype}, "
            f"tensor parallel {profile.tensor_parallel}, pipeline parallel {profile.pipeline_parallel}",
            f"  iteration   {model.fixed_ns / 1e6:.4g} ms",
            f"  prefill     {model.prefill_token_ns / 1e3:.4g} us a token, {model.prefill_pair_ns:.4g} ns a pair "
            "of tokens",
            f"  decode      {model.decode_job_ns / 1e3:.4g} us a job, {model.decode_context_ns:.4g} ns a token of "
            "context",
            f"  KV          {profile.kv_tokens:,} tokens of {profile.token_bytes:,} bytes; host {host}",
            f"  link        out {link_out}, in {link_in}",
            *_errors("fit error", fit),
            *(_errors("tables", profile.tables.fit) if profile.tables is not None else ()),
            f"  source      {profile.source}",
        )
    )


def _errors(label: str, fit: FitError | None) -> list[str]:
    """A line of all rows, then one a region."""
    if fit is None:
        return [f"  {label:<11} not stated"]
    lines = [f"  {label:<11} {_error(fit)}"]
    return [*lines, *(f"    {name.replace('_', ' '):<15} {_error(part)}" for name, part in fit.regions)]


def _error(fit: FitError) -> str:
    return f"mean {fit.mean:.1%}, p95 {fit.p95:.1%}, worst {fit.worst:.1%} of {fit.rows} rows"
