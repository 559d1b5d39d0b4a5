"""What `tools/first_token.sh` does in Python: a model folder as Transformers saves it, and the
clients that a new user has.

    python tools/first_token.py model FOLDER     # a small Llama with random weights and a tokenizer
    python tools/first_token.py ask HTTP GRPC    # openai's client and ours, HOST:PORT each

Owns nothing but these two words; the script owns their order and the server. It imports skipjoin
only as a user's program does.
"""

from __future__ import annotations

import sys

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"


def make_model(folder: str) -> None:
    """Save the model, its tokenizer and its chat template with Transformers."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(
        [TEMPLATE, "Once upon a time there was a server that let short jobs go first."] * 8, trainer
    )
    saved = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>")
    saved.chat_template = TEMPLATE
    saved.save_pretrained(folder)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(saved),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=saved.bos_token_id,
        eos_token_id=saved.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def ask(http: str, grpc: str) -> None:
    """A completion, a chat and a stream from openai's client, and a job of ours; raises where an
    answer is not one.
    """
    from openai import OpenAI

    from skipjoin.client import Client

    with OpenAI(base_url=f"http://{http}/v1", api_key="none", max_retries=0) as client:
        model = next(iter(client.models.list())).id
        done = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8)
        _expect(done.usage is not None and done.usage.completion_tokens > 0, f"openai: a completion of {model}")
        messages = [{"role": "user", "content": "Who goes first?"}]
        chats = client.chat.completions
        chat = chats.create(model=model, messages=messages, max_tokens=8)  # type: ignore[arg-type]
        _expect(chat.choices[0].message.role == "assistant", "openai: a chat")
        stream = chats.create(model=model, messages=messages, max_tokens=8, stream=True)  # type: ignore[arg-type]
        chunks = list(stream)
        _expect(chunks[-1].choices[0].finish_reason in ("stop", "length"), f"openai: a stream of {len(chunks)} events")
    with Client(grpc) as ours:
        job = ours.submit("Once upon a time", request_id="first", params={"max_new_tokens": 8, "ignore_eos": True})
        tokens = [token for chunk in ours.stream(job.job_id) for token in chunk.token_ids]
        _expect(len(tokens) == 8, "skipjoin.client: a job of 8 tokens, followed")


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"first token: not what was expected: {what}")
    print(f"   {what}")


if __name__ == "__main__":
    {"model": make_model, "ask": ask}[sys.argv[1]](*sys.argv[2:])
