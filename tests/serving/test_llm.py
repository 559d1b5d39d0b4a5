"""`skipjoin.LLM` on a tiny real model: the same tokens alone and together, whatever is preempted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from skipjoin import LLM, SamplingParams
from skipjoin.core.effects import Finished, TurnEffects
from skipjoin.core.errors import InvalidInput, InvalidModel, NeverFits
from skipjoin.core.events import Event
from skipjoin.core.job import FinishReason
from skipjoin.core.view import ChatMessage
from skipjoin.engine.turn import Turn
from skipjoin.model.presets import init_model
from skipjoin.serving.llm import Generation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny"
    init_model(path, "tiny", seed=3)
    config = path / "generation_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"temperature": 0.6, "top_p": 0.9}))
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    patch = pytest.MonkeyPatch()
    path = tmp_path_factory.mktemp("cache")
    patch.setenv("XDG_CACHE_HOME", str(path))
    yield path
    patch.undo()


@pytest.fixture(scope="module")
def llm(folder: Path, cache: Path) -> Iterator[LLM]:
    with LLM(
        folder, device="cpu", dtype="float64", threads=1, kv_tokens=512, host_kv_tokens=2048, max_batch=4
    ) as model:
        yield model


PROMPTS = [f"prompt number {i} " * (1 + i % 4) for i in range(12)]


def test_standard_output_is_the_programs_own(llm: LLM, capsys: pytest.CaptureFixture[str]) -> None:
    llm.generate("one", SamplingParams(max_new_tokens=1))
    assert capsys.readouterr() == ("", "")


def test_together_and_alone_give_the_same_tokens(llm: LLM) -> None:
    params = [SamplingParams(temperature=0.8, seed=i, max_new_tokens=20 + 3 * i, ignore_eos=True) for i in range(12)]
    together = llm.generate(PROMPTS, params, progress=False)
    assert [len(one.token_ids) for one in together] == [20 + 3 * i for i in range(12)]
    for prompt, one, expected in zip(PROMPTS[::4], params[::4], together[::4], strict=True):
        assert llm.generate(prompt, one, progress=False)[0].token_ids == expected.token_ids


def test_running_ahead_gives_the_same_tokens(
    folder: Path, cache: Path, llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greedy, seeded, penalised and with log-probabilities, jobs that stop themselves among them."""
    kinds = [
        {"temperature": 0.0},
        {},
        {"repetition_penalty": 1.3, "presence_penalty": 0.4, "frequency_penalty": 0.2},
        {"logprobs": 3},
    ]
    params = [
        SamplingParams(
            seed=i, max_new_tokens=20 + 3 * i, ignore_eos=i % 2 == 0, stop=("a",) if i % 3 == 0 else (), **kinds[i % 4]
        )
        for i in range(12)
    ]
    expected = llm.generate(PROMPTS, params, progress=False)
    deepest = 0
    step = Turn.step

    def noting(turn: Turn, events: Sequence[Event] = ()) -> TurnEffects:
        nonlocal deepest
        effects = step(turn, events)
        deepest = max(deepest, len(turn.state.in_flight))
        return effects

    monkeypatch.setattr(Turn, "step", noting)
    arguments = {"dtype": "float64", "threads": 1, "kv_tokens": 512, "host_kv_tokens": 2048, "max_batch": 4}
    with LLM(folder, device="cpu", run_ahead="on", **arguments) as ahead:
        answers = ahead.generate(PROMPTS, params, progress=False)
    assert deepest == 1  # a plan stays in flight from one turn to the next
    assert [_told(one) for one in answers] == [_told(one) for one in expected]
    # Which jobs are beside a job may differ here, and only the C products are blind to that.
    for one, other in zip(answers, expected, strict=True):
        assert _logprobs(one) == pytest.approx(_logprobs(other), rel=0, abs=1e-12)


def _told(answer: Generation) -> tuple[object, ...]:
    """Tokens, the end, and the likeliest tokens at each step."""
    tops = [[token for token, _ in entry.top] for entry in answer.logprobs or ()]
    return answer.token_ids, answer.finish, tops


def _logprobs(answer: Generation) -> list[float]:
    return [value for entry in answer.logprobs or () for value in (entry.chosen, *(one for _, one in entry.top))]


def test_what_is_left_out_is_the_models_own(llm: LLM) -> None:
    (plain,) = llm.generate([5], progress=False)
    assert (plain.sampling.temperature, plain.sampling.top_p) == (0.6, 0.9)
    (said,) = llm.generate([5], SamplingParams(max_new_tokens=2), progress=False)
    assert (said.sampling.temperature, said.sampling.top_p) == (1.0, 1.0)


def test_one_prompt_in_each_form(llm: LLM) -> None:
    greedy = SamplingParams(temperature=0, max_new_tokens=5, ignore_eos=True, logprobs=2)
    (text,) = llm.generate("hello", greedy, progress=False)
    (ids,) = llm.generate([1, 2, 3], greedy, progress=False)
    (chat,) = llm.generate([ChatMessage("user", "hello")], greedy, progress=False)
    for one in (text, ids, chat):
        assert len(one.token_ids) == 5
        assert one.finish is FinishReason.LENGTH
        assert one.logprobs is not None
        assert len(one.logprobs) == 5
    assert llm.generate([], progress=False) == []


def test_bad_input_is_refused_and_the_next_call_works(llm: LLM) -> None:
    with pytest.raises(InvalidInput):
        llm.generate("", progress=False)
    with pytest.raises(InvalidInput):
        llm.generate([[1, 10**6]], progress=False)
    for prompt in ([1.5], ["x"], [True], 1.5, None, {"role": "user", "content": "x"}, [ChatMessage("user", "x"), 5]):
        with pytest.raises(InvalidInput, match="text, a list of token ids"):
            llm.generate([prompt], progress=False)  # type: ignore[list-item]
    with pytest.raises(NeverFits):
        llm.generate("x", SamplingParams(max_new_tokens=5000), progress=False)
    with pytest.raises(InvalidInput):
        llm.generate(["a", "b"], [SamplingParams()], progress=False)
    assert len(llm.generate("fine", SamplingParams(max_new_tokens=2, ignore_eos=True), progress=False)) == 1


def test_an_interrupted_call_leaves_an_empty_engine(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = llm._engine
    assert engine is not None
    step, calls = engine.turn.step, iter(range(1000))

    def interrupted(events: object = ()) -> object:
        if next(calls) == 5:
            raise KeyboardInterrupt
        return step(events)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.turn, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        llm.generate(PROMPTS, SamplingParams(max_new_tokens=50, ignore_eos=True), progress=False)
    monkeypatch.undo()
    assert not engine.turn.busy
    assert len(engine.turn.state.rows) == 0


def test_the_measured_profile_is_kept_for_the_next_start(llm: LLM, cache: Path) -> None:
    assert len(list((cache / "skipjoin" / "profiles").glob("*.json"))) == 1


def test_the_urgent_ones_are_done_first(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = SamplingParams(temperature=0, max_new_tokens=3, ignore_eos=True)
    with LLM(folder, device="cpu", threads=1, kv_tokens=512, max_batch=1, policy="priority") as llm:
        engine, done = llm._engine, list[int]()
        assert engine is not None
        step = engine.turn.step

        def heard(events: object = ()) -> object:
            effects = step(events)  # type: ignore[arg-type]
            done.extend(int(one.handle) for one in effects.effects if isinstance(one, Finished))
            return effects

        monkeypatch.setattr(engine.turn, "step", heard)
        answers = llm.generate(["a", "b", "c", "d"], sampling, priority=[7, 0, -3, 100], progress=False)
        assert done == [3, 2, 1, 4] and len(answers) == 4
        llm.generate(["a", "b"], sampling, priority=5, progress=False)
        assert done[4:] == [5, 6]
        for priority, said in (
            ([1], "2 prompts and 1 priorities"),
            (101, "smaller is more urgent"),
            ("no", "priority"),
        ):
            with pytest.raises(InvalidInput, match=said):
                llm.generate(["a", "b"], sampling, priority=priority, progress=False)  # type: ignore[arg-type]


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel):
        LLM(tmp_path)


def test_an_end_token_that_only_the_tokenizer_names_ends_a_job(
    llm: LLM, folder: Path, cache: Path, tmp_path: Path
) -> None:
    """As fine-tunes for chats are often saved: config.json and generation_config.json keep the one
    of the model before.
    """
    greedy = SamplingParams(temperature=0.0, max_new_tokens=4)
    (before,) = llm.generate(["one two"], greedy)
    shutil.copytree(folder, tmp_path / "model")
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    text = next(token for token, index in vocabulary.items() if index == before.token_ids[1])
    settings = tmp_path / "model" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token": text}))
    with LLM(tmp_path / "model", device="cpu", dtype="float64", threads=1, kv_tokens=512, host_kv_tokens=0) as model:
        (after,) = model.generate(["one two"], greedy)
    assert len(before.token_ids) == 4 and before.token_ids[1] not in before.token_ids[:1]
    assert list(after.token_ids) == list(before.token_ids[:2])
