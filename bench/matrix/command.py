"""`skipjoin bench matrix`: its flags, and how they change what a matrix file says."""

from __future__ import annotations

import argparse

from ..flags import Flags, words_of


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench matrix`."""
    which = Flags(parser.add_mutually_exclusive_group())
    which.switch("quick", "four traces, loads 0.9 and 1.2, batch 64: minutes (default)")
    which.switch("full", "eight traces, five loads, three batches, all policies: hours")
    which.value("scenario", "FILE", "a matrix of your own, as those in bench/matrices")
    flags = Flags(parser)
    flags.value("data", "DIR", "folder of the traces (default: the environment's SKIPJOIN_BENCH_DATA)")
    flags.value("traces", "A,B", "traces, by name, file or shape:NAME", kind=words_of)
    flags.value("loads", "R,R", "arrival rates over drain rate", kind=words_of)
    flags.value("batches", "B,B", "jobs in a batch", kind=words_of)
    policies = "policies, or one with its dial set (adaptive:0.5); all: every one"
    flags.value("policies", "A,B", policies, kind=words_of)
    flags.value("tails", "T,T", "settings of the dial of a policy that has one", kind=words_of)
    flags.value("requests", "N", "counted requests of a run", kind=int)
    flags.value("warmup", "N", "requests before them, served and not counted", kind=int)
    flags.value("seeds", "S,S", "windows of a trace, or draws of a shape", kind=words_of)
    flags.value("profile", "NAME|FILE", "cost profile")
    flags.value("out", "DIR", "where results.jsonl lies or will lie (default: matrix-quick, matrix-full)")
    flags.value("jobs", "N", "processes (default: one a processor)", kind=int)
