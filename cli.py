"""The one command `skipjoin`, and nothing a sub-command needs.

Owns the table of sub-commands, the way an error becomes a message and an exit code, and Ctrl-C. It
does not know what a command does and imports only the one that was asked for. A command is a module
that offers

    def configure(parser: argparse.ArgumentParser) -> None: ...   # adds its own flags (and sub-commands); does no work
    def run(args: argparse.Namespace) -> int: ...                 # does the work, returns the exit code

`run` raises a `SkipjoinError` where a person should read a sentence; heavy imports (torch, grpc)
belong inside `run`, so that `skipjoin COMMAND --help` is quick too.

Exit codes: 0 done, 1 failed, 2 bad input, 3 not found, 4 denied, 5 try again later, 130
interrupted, 141 the reader went away.
"""

from __future__ import annotations

import argparse
import os
import sys
from argparse import Action, ArgumentError, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

from . import __version__
from .core.errors import SkipjoinError

INTERRUPTED = 130
READER_GONE = 141


class CommandModule(Protocol):
    """What a module in the table offers."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's flags to `parser`; does no work."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit code."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table: the word on the command line, the module below `skipjoin`, one line of
    help.
    """

    name: str
    module: str
    help: str

    @property
    def exists(self) -> bool:
        """Whether this installation has the command's module."""
        return Path(__file__).parent.joinpath(*self.module.split(".")).with_suffix(".py").is_file()

    def load(self) -> CommandModule:
        """Import the module."""
        return cast(CommandModule, import_module(f".{self.module}", __package__))


COMMANDS = (
    Command("serve", "serving.command", "serve a model over gRPC and HTTP"),
    Command("rank", "serving.worker.command", "be a rank of a server that runs on another machine"),
    Command("generate", "client.command", "send a prompt to a server and print the answer as it comes"),
    Command("simulate", "sim.command", "run a trace through the scheduler in virtual time"),
    Command("profile", "profiler.command", "what iterations cost: measure, import, estimate or show a profile"),
    Command("model", "model.command", "make a model folder with random weights"),
    Command("bench", "bench.command", "measure servers and the scheduler, compare policies in the simulator"),
    Command("pool", "jobpool.command", "look into a job pool's file: is it sound, and what is in it"),
    Command("admin", "admin.command", "look into a running server and steer it"),
)


class CommandParser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, with what was probably meant, where argparse
    prints the usage of all flags.

    Parsers of sub-commands are of this class too: argparse makes them of the class of the one
    above.
    """

    def __init__(self, *args: Any, **words: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False} | words)

    def error(self, message: str) -> NoReturn:
        """End with code 2 and one line."""
        end = "" if message.endswith(("?", ".")) else "."
        self.exit(2, f"skipjoin: {message}{end} `{self.prog} --help` tells more.\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse; but what a sub-command does not know is its own error, which can name its
        flags, and comes before what it lacks.
        """
        words = sys.argv[1:] if args is None else args
        for word in () if any(action.nargs == argparse.REMAINDER for action in self._actions) else words:
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                break
            if word.startswith("--") and " " not in word and word.partition("=")[0] not in self._option_string_actions:
                self.error(self._unknown(word))
        found, unknown = cast("tuple[Namespace, list[str]]", super().parse_known_args(args, namespace))
        if unknown:
            self.error(self._unknown(unknown[0]))
        return found, unknown

    def _unknown(self, word: str) -> str:
        if not word.startswith("-") or word == "-":
            return f"{self.prog} takes no {word!r} here"
        flag = word.partition("=")[0]
        parsers: list[argparse.ArgumentParser] = [self]
        for action in self._actions:  # a flag may belong behind the sub-command
            parsers += action.choices.values() if isinstance(action, argparse._SubParsersAction) else ()
        known = [name for parser in parsers for name in parser._option_string_actions if name.startswith("--")]
        return f"{self.prog} has no flag {flag}{_meant(flag.replace('_', '-'), known)}"

    def _check_value(self, action: Action, value: Any) -> None:
        """As argparse, with what was probably meant."""
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        if isinstance(action, argparse._SubParsersAction):
            raise ArgumentError(None, f"{self.prog} has no command {value!r}{_meant(str(value), known)}")
        raise ArgumentError(action, f"{value!r} is none of {', '.join(known)}{_meant(str(value), known)}")


def _meant(word: str, known: Sequence[str]) -> str:
    like = get_close_matches(word, known, n=1)
    return f". Is it {like[0]}?" if like else ""


def _own_name() -> str:
    """As this distribution's command is called; `skipjoin-client` is the one that has the client
    alone.
    """
    return "skipjoin" if COMMANDS[0].exists else "skipjoin-client"


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=_own_name(),
        description="A preemptive LLM inference server: every job finishes as early as possible.",
    )
    parser.add_argument("--version", action="version", version=f"{_own_name()} {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    asked_for = next((word for word in argv if not word.startswith("-")), None)
    for command in COMMANDS:
        if not command.exists:
            continue
        sub_parser = commands.add_parser(command.name, help=command.help, description=command.help)
        if command.name == asked_for:
            module = command.load()
            module.configure(sub_parser)
            sub_parser.set_defaults(_run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `skipjoin ARGV...` and return its exit code.

    Raises SystemExit from argparse: 0 after --help and --version, 2 on a command or flag that does
    not exist.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    # gRPC's own lines on standard error say again, in its words, what our errors say.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        args = _parser(words).parse_args(words)
        code = int(args._run(args))
        sys.stdout.flush()
    except SkipjoinError as error:
        print(f"skipjoin: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("skipjoin: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader closed our output (`| head`): give the interpreter's last flush somewhere to
        # go, and say nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    return code


if __name__ == "__main__":
    sys.exit(main())
