"""From measured iterations to coefficients: non-negative least squares on relative error.

Owns the fit and the profile that is made of one. It does not know how rows were measured nor which
file they end in; `measure` and `roofline` make rows and ask for `fitted_profile`, as the published
tables do; a rehearsal fits once more by `fit_cost_model`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..core.cost_model import CostModel
from ..core.errors import InvalidProfile
from ..cost.linear import LinearCostModel
from ..cost.schema import REGIONS, FitError, Profile, move_token_ns
from ..cost.sweep_row import SweepRow

Floats = NDArray[np.float64]
_NAMES = ("fixed_ns", "prefill_token_ns", "prefill_pair_ns", "decode_context_ns", "decode_job_ns")
_SHORTEST_ITERATION_NS = 1_000.0
SMALL_BATCH = 16
LONG_PREFILL = 512


def fitted_profile(
    rows: Sequence[SweepRow],
    *,
    model_name: str,
    device: str,
    dtype: str,
    kv_tokens: int,
    token_bytes: int,
    links_gbps: tuple[float | None, float | None],
    source: str,
    host_kv_tokens: int | None = None,
    max_context_tokens: int | None = None,
    tensor_parallel: int = 1,
) -> Profile:
    """Coefficients fitted to `rows`, with their error, and what else is known; `links_gbps` are out
    and in.

    Raises InvalidProfile as `fit_cost_model`.
    """
    link_out, link_in = links_gbps
    model, fit = fit_cost_model(rows, move_token_ns(token_bytes, link_out, link_in))
    return Profile(
        model=model,
        model_name=model_name,
        device=device,
        dtype=dtype,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=1,
        kv_tokens=kv_tokens,
        host_kv_tokens=host_kv_tokens,
        token_bytes=token_bytes,
        link_out_gbps=link_out,
        link_in_gbps=link_in,
        max_context_tokens=max_context_tokens,
        fit=fit,
        source=source,
    )


def fit_cost_model(rows: Sequence[SweepRow], move_token_ns: float = 0.0) -> tuple[LinearCostModel, FitError]:
    """Coefficients >= 0 that minimise the sum of squared relative errors of `rows`, and the errors
    that are left.

    Raises InvalidProfile when a row is malformed or the sweep cannot tell the coefficients apart
    (for instance one without prefill).
    """
    for at, row in enumerate(rows):
        _check(row, at)
    features = np.array([row.features() for row in rows], dtype=np.float64).reshape(len(rows), len(_NAMES))
    measured = np.array([row.measured_ns for row in rows], dtype=np.float64)
    relative = features / measured[:, None]
    scale = np.linalg.norm(relative, axis=0)
    for name, size in zip(_NAMES, scale, strict=True):
        if size == 0:
            raise InvalidProfile(
                f"No row of the sweep says anything about {name}.", field=name, limit="a row that uses it"
            )
    scaled = relative / scale
    if np.linalg.matrix_rank(scaled, tol=1e-9 * len(rows)) < len(_NAMES):
        raise InvalidProfile(
            f"The sweep's {len(rows)} rows cannot tell the coefficients apart; vary prompt lengths, batch sizes "
            "and contexts.",
            field="rows",
            limit=f"{len(_NAMES)} independent rows or more",
        )
    solution = _non_negative(scaled, np.ones(len(rows))) / scale
    costs = dict(zip(_NAMES, (float(value) for value in solution), strict=True))
    # A noisy sweep can blame everything on contexts; an iteration of no context still takes time,
    # and the first quantum is made of it.
    costs["fixed_ns"] = max(costs["fixed_ns"], _SHORTEST_ITERATION_NS)
    model = LinearCostModel(**costs, move_token_ns=move_token_ns)
    return model, fit_error(model, rows)


def fit_sums(features: Floats, measured_ns: Floats) -> LinearCostModel:
    """Coefficients >= 0 from times of several iterations together: each row of `features` is the
    sum of their `SweepRow.features`.

    What the sums cannot tell apart is shared out as least squares does. Raises InvalidProfile when
    they say nothing at all.
    """
    if features.ndim != 2 or features.shape[1] != len(_NAMES) or len(features) != len(measured_ns):
        raise InvalidProfile("Sums of another shape.", field="rows", limit=f"{len(_NAMES)} features each")
    if not len(features) or not (measured_ns > 0).all():
        raise InvalidProfile("No sums, or one that took no time.", field="rows", limit="1 or more, above 0 ns")
    relative = features / measured_ns[:, None]
    scale = np.maximum(np.linalg.norm(relative, axis=0), 1e-12)
    solution = _non_negative(relative / scale, np.ones(len(features))) / scale
    costs = dict(zip(_NAMES, (float(value) for value in solution), strict=True))
    costs["fixed_ns"] = max(costs["fixed_ns"], _SHORTEST_ITERATION_NS)
    return LinearCostModel(**costs)


def fit_error(model: CostModel, rows: Sequence[SweepRow]) -> FitError:
    """Relative errors |predicted - measured| / measured of a model on rows it need not have been
    fitted on, of all and by region.
    """
    parts: dict[str, list[float]] = {name: [] for name in REGIONS}
    for row in rows:
        predicted = model.iteration_ns(row.chunks, row.decode_jobs, row.decode_contexts)
        parts[region_of(row)].append(abs(predicted - row.measured_ns) / row.measured_ns)
    regions = tuple((name, _summed(errors)) for name, errors in parts.items() if errors)
    return replace(_summed([error for errors in parts.values() for error in errors]), regions=regions)


def region_of(row: SweepRow) -> str:
    """Which of schema.REGIONS a row belongs to."""
    if not row.chunks:
        return "decode_small" if row.decode_jobs <= SMALL_BATCH else "decode_large"
    if row.decode_jobs:
        return "mixed"
    return "prefill_short" if sum(length for length, _ in row.chunks) < LONG_PREFILL else "prefill_long"


def _summed(errors: list[float]) -> FitError:
    errors = sorted(errors)
    p95 = errors[max(math.ceil(0.95 * len(errors)) - 1, 0)]
    return FitError(mean=sum(errors) / len(errors), p95=p95, worst=errors[-1], rows=len(errors))


def _check(row: SweepRow, at: int) -> None:
    if row.measured_ns <= 0:
        raise InvalidProfile(f"Row {at} took {row.measured_ns} ns.", field=f"rows[{at}].measured_ns", limit="above 0")
    numbers = (row.decode_jobs, row.decode_contexts, *(number for chunk in row.chunks for number in chunk))
    if min(numbers) < 0 or not (row.chunks or row.decode_jobs):
        raise InvalidProfile(
            f"Row {at} holds a negative count or nothing at all.", field=f"rows[{at}]", limit="counts of 0 or more"
        )


def _non_negative(matrix: Floats, target: Floats) -> Floats:
    """argmin |matrix @ x - target| with x >= 0.

    The optimum is the free least-squares solution over its own support, so with five columns all 31
    supports are tried: no iteration, no tolerance, and plainly right.
    """
    columns = matrix.shape[1]
    best, best_error = np.zeros(columns), float("inf")
    for size in range(1, columns + 1):
        for support in combinations(range(columns), size):
            part = matrix[:, support]
            x = np.linalg.lstsq(part, target, rcond=None)[0]
            if (x < 0).any():
                continue
            error = float(np.square(part @ x - target).sum())
            if error < best_error:
                best_error = error
                best = np.zeros(columns)
                best[list(support)] = x
    return best
