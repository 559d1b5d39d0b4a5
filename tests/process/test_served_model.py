"""What a server serves and by which names: a folder, or a model of the hub whose commit stays the
same over every restart of the engine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from http_client import HTTP, call, http_port
from process_server import Server

from skipjoin.model.presets import init_model

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))  # hub_stand_in

from hub_stand_in import COMMIT, Hub

Serve = Callable[..., Server]


def test_every_name_answers_and_no_other(serve: Serve) -> None:
    port = http_port(serve(*HTTP, "--served-model-name", "mine", "--served-model-name", "org/mine"))
    cards = call(port, "/v1/models").json["data"]
    assert [card["id"] for card in cards] == ["mine", "org/mine"]
    assert call(port, "/v1/models/org/mine").json == cards[1]
    for name in ("mine", "org/mine"):
        answer = call(port, "/v1/completions", {"model": name, "prompt": "x", "max_tokens": 1})
        assert (answer.status, answer.json["model"]) == (200, name)
    assert call(port, "/v1/completions", {"prompt": "x", "max_tokens": 1}).json["model"] == "mine"
    refused = call(port, "/v1/completions", {"model": "simulated", "prompt": "x", "max_tokens": 1})
    assert refused.status == 404 and "mine or org/mine" in refused.json["error"]["message"]


def test_a_model_of_the_hub_is_pinned_over_a_restart_of_the_engine(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repos = tmp_path / "repos"
    init_model(repos / "org" / "tiny", "tiny", seed=5)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with Hub(repos).running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        server = serve("org/tiny", *HTTP)  # the simulated executor reads the model's tokenizer, in door and engine
        port = http_port(server)
        assert [card["id"] for card in call(port, "/v1/models").json["data"]] == ["org/tiny", "tiny"]
        assert COMMIT in server.log.read_text()
        # The hub moves on to a commit that no engine could start with; one that starts again must
        # not follow.
        hub.commit = "beef" + "1" * 36
        (repos / "org" / "tiny" / "tokenizer.json").write_text("{}")
        asked = len(hub.asked)
        server.kill_engine()
        answer = call(port, "/v1/completions", {"model": "tiny", "prompt": "once upon a time", "max_tokens": 4})
        while answer.status == 503:
            answer = call(port, "/v1/completions", {"model": "tiny", "prompt": "once upon a time", "max_tokens": 4})
        assert (answer.status, answer.json["model"], len(hub.asked)) == (200, "tiny", asked)
