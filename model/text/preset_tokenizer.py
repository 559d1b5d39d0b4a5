"""A tokenizer for random models, made on the spot.

Owns the training of a byte-level BPE tokenizer on Python's own documentation, and its special
tokens. It knows no model; presets writes it beside the weights.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

BOS, EOS, USER, ASSISTANT, SYSTEM = "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"
SPECIAL_TOKENS = (BOS, EOS, USER, ASSISTANT, SYSTEM)
"""In the order of their ids, from 0 on."""

_DOCUMENTED_MODULES = (
    *(
        "argparse",
        "ast",
        "bisect",
        "calendar",
        "codecs",
        "collections",
        "configparser",
        "contextlib",
        "csv",
        "datetime",
    ),
    *(
        "decimal",
        "difflib",
        "doctest",
        "email.message",
        "enum",
        "fractions",
        "functools",
        "gettext",
        "heapq",
        "http.client",
    ),
    *(
        "inspect",
        "io",
        "ipaddress",
        "itertools",
        "json",
        "logging",
        "mailbox",
        "math",
        "operator",
        "os",
        "pathlib",
        "pickletools",
    ),
    *(
        "platform",
        "pprint",
        "random",
        "re",
        "shutil",
        "socket",
        "statistics",
        "string",
        "struct",
        "subprocess",
        "tarfile",
    ),
    *(
        "tempfile",
        "textwrap",
        "threading",
        "timeit",
        "tokenize",
        "traceback",
        "typing",
        "unittest.mock",
        "urllib.parse",
    ),
    *("urllib.request", "uuid", "weakref", "xml.dom.minidom", "zipfile"),
)


def train_tokenizer(vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer of exactly `vocab_size` tokens; a text too small for that is
    filled up with reserved special tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_training_text(), trainer)
    missing = vocab_size - tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([f"<|reserved_{i}|>" for i in range(missing)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def _training_text() -> Iterator[str]:
    """Python's language reference, which every installation carries for `help()`, and the
    docstrings of some of its modules.
    """
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield topics[name]
    for name in _DOCUMENTED_MODULES:
        module = importlib.import_module(name)
        for member in _documented(module):
            for documented in (member, *(_documented(member) if isinstance(member, type) else ())):
                # Looked up without asking the object: some of typing's answer with a deprecation
                # warning.
                doc = inspect.getattr_static(documented, "__doc__", None)
                if isinstance(doc, str):
                    yield doc


def _documented(owner: object) -> list[object]:
    """Classes and routines by name, and nothing else: submodules and caches come and go with what
    else this process did.
    """
    members = [member for _, member in sorted(vars(owner).items())]
    kinds = (type, property, classmethod, staticmethod)
    return [member for member in members if isinstance(member, kinds) or inspect.isroutine(member)]
