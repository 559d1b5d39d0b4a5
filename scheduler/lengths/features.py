"""What is known of a job on arrival that may say how long its answer will be: keys of features.

Owns which features there are and how each becomes a place in a table of fixed size. It does not
know what is learned of them: `length_score` keeps a weight per place.
"""

from __future__ import annotations

import math
from hashlib import blake2b

from ...core.policy import JobAttributes

PLACES = 1 << 13
"""Of the table. Features that share one are told apart by the others that come with them; more
tenants than places cost accuracy, no memory.
"""

LONGEST_SALT = 64
"""Bytes that the hash takes as a key."""


def keys_of(attributes: JobAttributes, salt: bytes) -> tuple[int, ...]:
    """The places of a job's features: everybody, half octave of the prompt, tenant, tenant and
    octave, last answer of the conversation.

    The salt keeps a tenant from choosing a name that shares its place with another's (Weinberger et
    al., "Feature hashing for large scale multitask learning", 2009, of hashing into one table).
    """
    prompt, earlier = attributes.prompt_tokens, attributes.earlier_output_tokens
    features = (
        "all",
        f"size {int(2 * math.log2(prompt))}",
        f"tenant {attributes.tenant}",
        f"octave {prompt.bit_length()} {attributes.tenant}",
        f"earlier {round(2 * math.log(earlier)) if earlier > 0 else -1}",
    )
    return tuple(_place(feature, salt) for feature in features)


def _place(feature: str, salt: bytes) -> int:
    digest = blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=4, key=salt).digest()
    return int.from_bytes(digest, "little") % PLACES
