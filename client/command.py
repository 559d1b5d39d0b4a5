"""`skipjoin generate`: send a prompt, print the answer as it comes.

Owns the flags and the rendering. Ctrl-C cancels the job and exits with 130; a broken pipe ends
quietly. cli.py calls it; it uses the SDK like anyone else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, cast

from ..core.asked import OPTIONS, AskedOptions
from ..core.errors import InvalidInput, SkipjoinError
from .connection import DEFAULT_TARGET, TlsParams
from .retry import RetryParams

_REAL = ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
_WHOLE = ("top_k", "seed", "max_new_tokens", "logprobs")
MAX_STDIN_BYTES = 16 << 20
_CANCEL_S = 3.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `skipjoin generate`."""
    parser.add_argument("prompt", nargs="?", help="the prompt; read from standard input when it is missing or -")
    parser.add_argument(
        "--chat", action="store_true", help="send the prompt as a user's message through the chat template"
    )
    parser.add_argument("--system", metavar="TEXT", help="a system message before it (implies --chat)")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object a line: chunks with their job's id, and events"
    )
    parser.add_argument("--events", action="store_true", help="tell of preemptions and level changes on standard error")
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds that the job may live")
    for name, option in OPTIONS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=option.spelling.kind,
            default=option.default,
            metavar=option.spelling.metavar,
            help=option.spelling.help,
        )
    parser.add_argument("--request-id", metavar="ID", help="idempotency key; the same one again answers the same job")
    server = parser.add_argument_group("server")
    server.add_argument(
        "--target",
        default=os.environ.get("SKIPJOIN_TARGET", DEFAULT_TARGET),
        help="HOST:PORT or unix:PATH; several doors of one job pool separated by commas (default: %(default)s)",
    )
    server.add_argument("--token-file", metavar="FILE", help="bearer token (or the environment's SKIPJOIN_TOKEN)")
    server.add_argument("--tls", action="store_true", help="TLS with the system's roots")
    server.add_argument("--tls-ca", metavar="FILE", help="TLS with these roots (PEM)")
    server.add_argument("--insecure", action="store_true", help="allow a token in plain text beyond this machine")
    sampling = parser.add_argument_group("sampling", "what is not given is the model's default")
    for name in _REAL:
        sampling.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="X")
    for name in _WHOLE:
        sampling.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    sampling.add_argument("--stop", action="append", metavar="TEXT", help="end before this text; may be repeated")
    sampling.add_argument("--stop-token-id", action="append", type=int, metavar="ID", dest="stop_token_ids")
    sampling.add_argument("--ignore-eos", action="store_true", help="go on behind the model's end token")


def run(args: argparse.Namespace) -> int:
    """Generate; returns 0, or raises the SkipjoinError or KeyboardInterrupt that ended it."""
    from .completion import completion_of
    from .sync import Client

    prompt = _prompt(args.prompt)
    asked: dict[str, Any] = {"prompt": prompt}
    if args.chat or args.system is not None:
        system = [] if args.system is None else [{"role": "system", "content": args.system}]
        asked = {"messages": [*system, {"role": "user", "content": prompt}]}
    # Only the cancel of Ctrl-C is a call that `timeout_s` bounds.
    retry = RetryParams(on_wait=_Waiting())
    with Client(
        args.target,
        token=_token(args.token_file),
        tls=_tls(args),
        insecure=args.insecure,
        timeout_s=_CANCEL_S,
        retry=retry,
    ) as client:
        generation = client.generate(
            **asked,
            params=_sampling(args),
            request_id=args.request_id,
            job_timeout_s=args.timeout,
            on_event=(lambda event: _show_event(event, args.json)) if args.events else None,
            **_options(args),
        )
        chunks = []
        try:
            for chunk in generation:
                chunks.append(chunk)
                _show_chunk(chunk, generation.job_id, args.json)
        except (KeyboardInterrupt, BrokenPipeError):
            _cancel(generation)
            raise
        if not args.json:
            print()
        completion_of(generation.known_id, chunks)
    return 0


class _Waiting:
    """Says once that a server is waited for, and why."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, error: SkipjoinError, wait_s: float) -> None:
        if not self._said:
            self._said = True
            print(f"skipjoin: {error} Trying again for a minute; Ctrl-C ends it.", file=sys.stderr)


def _cancel(generation: Any) -> None:
    generation.close()
    try:
        generation.cancel(reason="interrupted")
    except SkipjoinError as error:
        print(f"skipjoin: the job could not be cancelled: {error}", file=sys.stderr)
    else:
        print(f"skipjoin: job {generation.job_id} cancelled", file=sys.stderr)


def _show_chunk(chunk: Any, job_id: str | None, as_json: bool) -> None:
    if not as_json:
        print(chunk.text, end="", flush=True)
        return
    line: dict[str, Any] = {"job_id": job_id, "offset": chunk.offset, "token_ids": chunk.token_ids, "text": chunk.text}
    if chunk.logprobs is not None:
        line["logprobs"] = [{"chosen": entry.chosen, "top": entry.top} for entry in chunk.logprobs]
    if chunk.finish is not None:
        finish = chunk.finish
        line["finish"] = {"reason": finish.reason.value, "output_tokens": finish.output_tokens}
        if finish.failure is not None:
            line["finish"]["failure"] = {"code": finish.failure[0], "message": finish.failure[1]}
        if finish.account is not None:
            line["finish"]["account"] = json.loads(finish.account.to_json())
    print(json.dumps(line, ensure_ascii=False), flush=True)


def _show_event(event: Any, as_json: bool) -> None:
    fields = {"event": event.kind.value, "level": event.level, "old_level": event.old_level, "tokens": event.tokens}
    fields |= {"cause": event.cause.value if event.cause is not None else None}
    told = {name: value for name, value in fields.items() if value is not None}
    if as_json:
        print(json.dumps(told), flush=True)
    else:
        print("skipjoin: " + ", ".join(f"{name} {value}" for name, value in told.items()), file=sys.stderr)


def _options(args: argparse.Namespace) -> AskedOptions:
    return cast(AskedOptions, {name: getattr(args, name) for name in OPTIONS})


def _sampling(args: argparse.Namespace) -> dict[str, Any]:
    """The flags that were given; for the rest the model's defaults hold."""
    given = {name: value for name in (*_REAL, *_WHOLE) if (value := getattr(args, name)) is not None}
    given |= {name: tuple(value) for name in ("stop", "stop_token_ids") if (value := getattr(args, name)) is not None}
    return given | {"ignore_eos": True} if args.ignore_eos else given


def _prompt(argument: str | None) -> str:
    if argument is not None and argument != "-":
        return argument
    if sys.stdin.isatty():
        print("skipjoin: type the prompt, end with Ctrl-D", file=sys.stderr)
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise InvalidInput("The prompt is too long.", field="prompt", limit=f"at most {MAX_STDIN_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The prompt is not UTF-8: byte {error.start} is wrong.", field="prompt") from None


def _token(path: str | None) -> str | None:
    if path is None:
        return os.environ.get("SKIPJOIN_TOKEN") or None
    return _read(path, "token-file").decode("ascii", "replace").strip()


def _tls(args: argparse.Namespace) -> TlsParams | None:
    if args.tls_ca is not None:
        return TlsParams(root_pem=_read(args.tls_ca, "tls-ca"))
    return TlsParams() if args.tls else None


def _read(path: str, flag: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"The file of --{flag} cannot be read: {error.strerror}.", field=flag) from None
