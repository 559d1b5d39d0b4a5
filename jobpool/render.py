"""What a person, or a program, reads about a pool's file.

Owns the table and the JSON of a report. It asks and decides nothing; `skipjoin pool check` calls
it.
"""

from __future__ import annotations

import json

from .pool_check import Report


def show_json(report: Report) -> None:
    """One JSON value."""
    faults = [
        {"fault": words, "count": count, "examples": examples} for words, (count, examples) in report.faults.items()
    ]
    value = {
        "sound": report.sound,
        "format": report.format,
        "rows": report.rows,
        "states": report.states,
        "faults": faults,
    }
    print(json.dumps(value, ensure_ascii=False, indent=2))


def show(report: Report) -> None:
    """A table, the faults, and a sentence."""
    rows = [("format", str(report.format))]
    rows += [(f"rows of {table}", str(count)) for table, count in report.rows.items()]
    rows += [(f"jobs {state}", str(count)) for state, count in report.states.items()]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value:>10}")
    print()
    for words, (count, examples) in report.faults.items():
        print(f"FAULT {count} x {words}: {'; '.join(examples)}")
    print(
        "The pool is sound." if report.sound else "The pool has faults. `skipjoin pool export` saves what can be read."
    )
