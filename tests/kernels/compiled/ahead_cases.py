"""Launches that are compiled for a device that is not here, with the signature and sizes that the
launcher would use.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator

import numpy as np
import torch
import triton
from nearness import DTYPES
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction, mangle_type

from skipjoin.kernels.bring import brings_to
from skipjoin.kernels.compiled import attention, gate, norm, sampling, slots, staging
from skipjoin.kernels.compiled.variants import compile_variants, kernel_variants
from skipjoin.kernels.decoder_shape import DecoderShape, NormForm
from skipjoin.kernels.layout import KvLayout, PagedKv
from skipjoin.kernels.ragged import RaggedBatch
from skipjoin.kernels.ragged_attention import AttentionShape
from skipjoin.kernels.sampling import COLUMNS, SamplingColumns, columns_of

MODULES = (attention, gate, norm, sampling, slots, staging)
SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024}
"""Shared memory that one block may have, by compute capability (CUDA programming guide, technical
specifications).
"""


def _form(kernel, args, kwargs):
    """Signature, constants and attributes of a launch: whole numbers and addresses that 16 divides
    are known to be such.
    """
    names = set(kernel.arg_names)
    bound = inspect.signature(kernel.fn).bind(*args, **{key: value for key, value in kwargs.items() if key in names})
    signature, constants, attributes = {}, {}, {}
    for i, parameter in enumerate(kernel.params):
        value = bound.arguments[parameter.name]
        fixed = type(value) is int and value == 1 and not parameter.do_not_specialize
        if parameter.is_constexpr or fixed:
            signature[parameter.name], constants[parameter.name] = "constexpr", value
            continue
        signature[parameter.name] = mangle_type(value)
        number = value.data_ptr() if isinstance(value, torch.Tensor) else value
        if isinstance(number, int) and number % 16 == 0 and not parameter.do_not_specialize:
            attributes[(i,)] = [["tt.divisibility", 16]]
    return signature, constants, attributes, {key: value for key, value in kwargs.items() if key not in names}


def _compiled(kernel, capability, args, kwargs):
    """What the first launch with these arguments would compile."""
    signature, constants, attributes, options = _form(kernel, args, kwargs)
    return triton.compile(
        ASTSource(kernel, signature, constants, attributes), target=GPUTarget("cuda", capability, 32), options=options
    )


@contextlib.contextmanager
def _compiling(capability) -> Iterator[dict]:
    """Inside, a launch compiles and computes nothing; gives {kernel's name: what was compiled}."""
    found: dict[str, object] = {}
    kernels = [k for module in MODULES for k in vars(module).values() if isinstance(k, JITFunction)]
    for kernel in kernels:

        def run(*args, grid, warmup, kernel=kernel, **kwargs):
            found[kernel.__name__] = _compiled(kernel, capability, args, kwargs)

        kernel.run = run
    try:
        yield found
    finally:
        for kernel in kernels:
            del kernel.run


def _facts(found, capability):
    facts = {}
    for name, compiled in found.items():
        assert len(compiled.asm["cubin"]) > 0
        assert compiled.metadata.shared <= SHARED_BYTES[capability], (
            f"{name} needs {compiled.metadata.shared} bytes of shared memory"
        )
        products = {
            line.split()[0] for line in compiled.asm["ptx"].splitlines() if "mma" in line and "fence" not in line
        }
        facts[name] = {"products": sorted(products), "target": f".target sm_{capability}" in compiled.asm["ptx"]}
    return facts


def attend(capability, dtype, heads, kv_heads, head_dim, chunks, window=None, softcap=None, upcast=False):
    layout = KvLayout(2, kv_heads, 16, head_dim)
    pool = torch.empty(layout.pool_shape(65), dtype=DTYPES[dtype])
    counts = [1, 24 if chunks else 1]
    batch = RaggedBatch(
        torch.zeros(2, 64, dtype=torch.int32),
        np.cumsum([0, *counts]).astype(np.int64),
        np.array([1000, 100], dtype=np.int64),
    )
    queries = torch.empty(batch.rows, heads, head_dim, dtype=pool.dtype)
    out = torch.empty_like(queries)
    shape = AttentionShape(heads, 0.1, window, softcap)
    if upcast:
        attention.is_interpreted = lambda kernel: True
    try:
        with _compiling(capability) as found:
            attention.attend(PagedKv(pool, layout), 1, shape, batch, queries, out)
    finally:
        from skipjoin.kernels.compiled.launch import is_interpreted

        attention.is_interpreted = is_interpreted
    return _facts(found, capability)


def others(capability, dtype):
    """Every kernel but the attention's."""
    kind, found = DTYPES[dtype], {}
    layout = KvLayout(2, 2, 16, 64)
    kv = PagedKv(torch.empty(layout.pool_shape(4), dtype=kind), layout)
    x, weight = torch.empty(3, 512, dtype=kind), torch.empty(512, dtype=kind)
    rows = torch.zeros(3, dtype=torch.int64)
    real = torch.zeros(3, dtype=torch.float64)
    columns = SamplingColumns(real, rows, real, real, real, real, real, rows, rows)
    counts = torch.zeros(3, 512, dtype=torch.int32)

    def launches() -> Iterator[object]:
        yield slots.rotate_and_write(
            kv, 1, x.view(3, 8, 64), torch.empty(3, 1, 32, dtype=kind), torch.empty(3, 1, 32, dtype=kind), rows
        )
        yield staging.gather_pages(kv.pool, rows, torch.empty_like(kv.pool[:3]))
        yield staging.scatter_pages(kv.pool, rows, torch.empty_like(kv.pool[:3]))
        yield norm.add_rms_norm_(x, x.clone(), weight, 1e-5)
        yield norm.layer_norm(x, weight, weight, 1e-5)
        yield gate.silu_gate(x)
        yield gate.gelu_gate(x)
        yield sampling.sample(x, columns, counts, counts.bool())

    with _compiling(capability) as compiled:
        for _ in launches():
            for name, each in _facts(compiled, capability).items():
                found[name] = each
    return found


VOCAB = 5003  # a row is no whole number of anything: what an address is divisible by differs from row to row
MODELS = {
    "llama": {},
    "gemma": {"gate": "gelu", "norm_widths": [512, 64], "kinds": [(None, 50.0), (64, 50.0)]},
    "gpt2": {"norm": "layer", "gate": None, "turned": 0},
}


def _shape(model, dtype):
    options = dict(MODELS[model])
    kinds = options.pop("kinds", [(None, None)])
    attentions = tuple(AttentionShape(8, 0.1, window, softcap) for window, softcap in kinds)
    kind, widths = options.pop("norm", "rms"), options.pop("norm_widths", [512])
    norms = tuple(NormForm(kind, width, kind == "layer", DTYPES[dtype]) for width in widths)
    options = {"turned": 64, "vocab": VOCAB, "norms": norms, **options}
    return DecoderShape(DTYPES[dtype], 2, 64, 512, 1408, 16, attentions, **options)


def variants(capability, dtype, model):
    """Compiles every form that a model needs; gives what was told on the way and the kernels of
    each form.
    """
    told, found = [], {}
    with _compiling(capability) as compiled:

        def progress(done, total, name):
            if told:
                found[told[-1][2]] = sorted(compiled)
                _facts(compiled, capability)
                compiled.clear()
            told.append((done, total, name))

        compile_variants(kernel_variants(_shape(model, dtype), torch.device("cpu")), progress)
    return {"told": told, "kernels": found}


@contextlib.contextmanager
def watching() -> Iterator[set]:
    """Inside, a launch does nothing but say which form Triton would compile."""
    forms: set[str] = set()
    kernels = [k for module in MODULES for k in vars(module).values() if isinstance(k, JITFunction)]
    for kernel in kernels:

        def run(*args, grid, warmup, kernel=kernel, **kwargs):
            forms.add(repr((kernel.__name__, *_form(kernel, args, kwargs))))

        kernel.run = run
    try:
        yield forms
    finally:
        for kernel in kernels:
            del kernel.run


def not_compiled(dtype, model, seed, without=""):
    """What batches of any size would still compile after the start: [] when the list is whole.
    `without`: a form that is left out.
    """
    shape = _shape(model, dtype)
    random = np.random.default_rng(seed)
    with watching() as ready:
        listed = [one for one in kernel_variants(shape, torch.device("cpu")) if one.name != without]
        compile_variants(listed, lambda done, total, name: None)
    layout = KvLayout(3, shape.kv_heads, shape.page_tokens, shape.head_dim)
    kv = PagedKv(torch.empty(layout.pool_shape(5), dtype=shape.dtype), layout)
    with watching() as forms:
        for _ in range(12):
            counts = random.integers(1, [2, 300][int(random.integers(2))], size=int(random.integers(1, 40)))
            contexts = counts + random.integers(0, 9000, size=len(counts))
            tables = torch.zeros(len(counts), int(contexts.max()) // 16 + 1, dtype=torch.int32)
            rows = RaggedBatch(tables, np.concatenate([[0], np.cumsum(counts)]), contexts)
            qkv = torch.empty(rows.rows, 12, shape.head_dim, dtype=shape.dtype)
            layer = int(random.integers(3))
            for kind in shape.attentions:
                attention.attend(kv, layer, kind, rows, qkv[:, :8], torch.empty_like(qkv[:, :8]).contiguous())
            angle = torch.empty(rows.rows, 1, shape.turned // 2, dtype=shape.dtype)
            slots.rotate_and_write(kv, layer, qkv, angle, angle, torch.zeros(rows.rows, dtype=torch.int64))
            x, weight = torch.empty(rows.rows, 512, dtype=shape.dtype), torch.empty(512, dtype=shape.dtype)
            if model == "gpt2":
                norm.add_layer_norm_(x, x.clone(), weight, weight, 1e-5)
            else:
                norm.add_rms_norm_(x, x.clone(), weight, 1e-5)
            if model == "gemma":
                norm.rms_norm(qkv[:, :8].reshape(-1, shape.head_dim), weight[:64], 1e-5)
            if shape.gate is not None:
                gated = {"silu": gate.silu_gate, "gelu": gate.gelu_gate}[shape.gate]
                gated(torch.empty(rows.rows, 2816, dtype=shape.dtype))
            _sample(shape, len(counts))
    return sorted(forms - ready)


def _sample(shape, rows):
    """One iteration's tokens, with penalties and without."""
    columns = columns_of({name: np.ones(rows) for name in COLUMNS}, brings_to(torch.device("cpu")))
    logits, output = torch.empty(rows, VOCAB, dtype=shape.dtype), torch.zeros(rows, VOCAB, dtype=torch.int32)
    sampling.sample(logits, columns)
    sampling.sample(logits, columns, output, output > 0)
