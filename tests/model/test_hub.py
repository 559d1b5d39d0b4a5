"""A model of the hub becomes a folder: once, whole, checked, pinned; and a hub that fails says what
to do, in time.

Against a stand-in of the hub on this machine (`hub_stand_in.py`), through the hub's own library in
the process that downloads.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # hub_stand_in, beside this file

from hub_stand_in import COMMIT, Hub

from skipjoin.core.errors import (
    InvalidInput,
    InvalidModel,
    NotFound,
    PermissionDenied,
    SkipjoinError,
    Unauthenticated,
    Unavailable,
)
from skipjoin.model.config import load_config
from skipjoin.model.presets import init_model
from skipjoin.model.source import hub as hub_module
from skipjoin.model.source.hub import hub_id
from skipjoin.model.source.model_place import find_model, names_of


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of repositories: `org/tiny`, as one with files that are not wanted, and one with
    pickles only.
    """
    root = tmp_path_factory.mktemp("hub")
    tiny = root / "org" / "tiny"
    init_model(tiny, "tiny", seed=5)
    for name in ("pytorch_model.bin", "modeling_tiny.py", "consolidated.safetensors", "README.md", "training_args.pt"):
        (tiny / name).write_bytes(b"not wanted" * 1000)
    (tiny / "original").mkdir()
    (tiny / "original" / "params.json").write_text("{}")
    init_model(root / "alone", "tiny", seed=6)
    pickles = root / "org" / "pickles"
    pickles.mkdir()
    (pickles / "config.json").write_text("{}")
    (pickles / "pytorch_model.bin").write_bytes(b"x" * 70_000)
    return root


@pytest.fixture
def hub(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in (
        "HF_HUB_CACHE",
        "ALL_PROXY",
        "all_proxy",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN",
        "HF_TOKEN",
        "HF_HUB_OFFLINE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    with Hub(models).running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def test_a_model_is_downloaded_once_with_what_it_needs_and_nothing_else(
    hub: Hub, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        place = find_model("org/tiny")
    assert place.commit == COMMIT and COMMIT in caplog.text
    assert place.names == ("org/tiny", "tiny")
    source = models / "org" / "tiny"
    there = {path.name for path in place.folder.iterdir()}
    assert there == {p.name for p in source.iterdir() if p.suffix in (".json", ".jinja")} | {"model.safetensors"}
    assert all((place.folder / name).read_bytes() == (source / name).read_bytes() for name in there)
    assert load_config(place.folder) == load_config(source)
    before = hub.sent
    assert find_model("org/tiny") == place
    assert find_model(f"{hub.url.replace(hub.url, 'https://huggingface.co')}/org/tiny") == place
    assert hub.sent == before


def test_llm_takes_an_id_too(hub: Hub, models: Path) -> None:
    from skipjoin import LLM, SamplingParams

    flags = {"device": "cpu", "dtype": "float64", "kv_tokens": 256, "profile": "roofline"}
    greedy = SamplingParams(temperature=0, max_new_tokens=4, ignore_eos=True)
    with LLM("org/tiny", revision=COMMIT, **flags) as there, LLM(models / "org" / "tiny", **flags) as here:
        assert there.generate("once", greedy)[0].token_ids == here.generate("once", greedy)[0].token_ids


def test_a_name_without_an_organisation_is_an_id_too(hub: Hub) -> None:
    place = find_model("alone", COMMIT)
    assert place.names == ("alone",) and (place.folder / "config.json").is_file()
    assert hub.asked[0] == f"info alone@{COMMIT}"


def test_a_folder_that_is_there_asks_no_hub(hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models)
    assert find_model("org/tiny").folder == Path("org/tiny")
    assert hub.asked == []
    with pytest.raises(InvalidModel, match="only a model of the hub has revisions"):
        find_model("org/tiny", "main")


def test_without_the_hub_the_cache_serves_and_says_so(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = find_model("org/tiny")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.asked.clear()
    assert find_model("org/tiny") == place
    assert hub.asked == []
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE forbids"):
        find_model("org/other")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    caplog.clear()
    assert find_model("org/tiny") == place
    assert "cannot be reached" in caplog.text and "The copy in the cache is used" in caplog.text
    (place.folder / "model.safetensors").unlink()
    with pytest.raises(Unavailable, match="cannot be reached"):
        find_model("org/tiny")


def test_a_new_commit_is_another_folder_and_a_pinned_one_stays(hub: Hub, models: Path) -> None:
    first = find_model("org/tiny")
    hub.commit = "beef" + "1" * 36
    second = find_model("org/tiny", "main")
    assert (second.commit, second.folder != first.folder) == (hub.commit, True)
    assert second.folder.joinpath("model.safetensors").samefile(first.folder / "model.safetensors")


@pytest.mark.parametrize(
    ("asked", "revision", "faults", "kind", "says"),
    [
        ("org/none", None, (), NotFound, "no model org/none"),
        ("org/tiny", None, ("bad token",), Unauthenticated, "refuses the token"),
        ("org/tiny", "v9", (), NotFound, "has no revision v9"),
        ("org/tiny", "../../x", (), InvalidInput, "no branch, tag or commit"),
        ("org/tiny", None, ("gated",), PermissionDenied, "accept its terms"),
        ("org/pickles", None, (), InvalidModel, "no weights in safetensors"),
        ("org/tiny", None, ("info broken",), Unavailable, "answered 500"),
        ("org/tiny", None, ("full",), Unavailable, "answered 503"),
        ("org/tiny", None, ("wrong content",), InvalidModel, "another content than the hub says"),
        ("org/tiny", None, ("too long",), InvalidModel, "longer than the"),
        ("org/tiny", None, ("plain 404",), NotFound, "answers 404.*whether HF_ENDPOINT is a model hub"),
        ("org/tiny", None, ("half", "no ranges"), Unavailable, "run the command again to go on"),
        ("./none", None, (), InvalidModel, r"no folder ./none.*skipjoin model init ./none"),
        ("/none/at/all", None, (), InvalidModel, "no folder /none/at/all"),
        ("a/b/c", None, (), InvalidModel, "no folder a/b/c"),
        ("", None, (), InvalidModel, "is empty"),
        (
            "https://example.org/org/tiny",
            None,
            (),
            InvalidModel,
            r"not the address of a model's page.*hub \(org/name\)",
        ),
        ("huggingface.co/org/none", None, (), NotFound, "no model org/none"),
    ],
)
def test_what_fails_says_what_to_do(
    hub: Hub,
    asked: str,
    revision: str | None,
    faults: tuple[str, ...],
    kind: type[SkipjoinError],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    hub.faults.update(faults)
    with pytest.raises(kind, match=says) as refused:
        find_model(asked, revision, stall_s=20)
    assert ("model init" in str(refused.value)) <= (".co/" not in asked and "://" not in asked)
    assert "secret" not in str(refused.value) and str(tmp_path) not in str(refused.value)
    assert not list(tmp_path.glob("**/snapshots/*/model.safetensors"))


@pytest.mark.parametrize("fault", ["info silent", "hangs", "drips"])
def test_a_hub_that_brings_nothing_is_given_up(hub: Hub, fault: str) -> None:
    hub.faults.add(fault)
    with pytest.raises(Unavailable, match=r"nothing new for 3 s.*hub_stall_s"):
        find_model("org/tiny", stall_s=3)


def test_half_a_file_is_gone_on_with_in_this_run_and_the_next(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults.add("hangs")
    monkeypatch.setattr(hub_module, "LEAST_BYTES", 1 << 40)
    with pytest.raises(Unavailable, match="What came is kept"):
        find_model("org/tiny", stall_s=3)
    hub.faults.clear()
    hub.faults.add("half")  # each request brings half of what is left, with ranges that is progress
    hub.asked.clear()
    place = find_model("org/tiny", stall_s=60)
    size = (place.folder / "model.safetensors").stat().st_size
    begun = [int(line.split()[1]) for line in hub.asked if line.startswith("range ")]
    assert begun[0] >= size // 2 - 1 and begun == sorted(begun) and len(begun) > 3


def test_a_damaged_rest_of_a_download_is_found_and_thrown_away(hub: Hub) -> None:
    hub.faults.add("hangs")
    with pytest.raises(Unavailable):
        find_model("org/tiny", stall_s=3)
    hub.faults.clear()
    (part,) = Path(os.environ["HF_HOME"], "hub").glob("models--org--tiny/blobs/*.incomplete")
    part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(InvalidModel, match="run the command again"):
        find_model("org/tiny")
    assert find_model("org/tiny").commit == COMMIT


@pytest.mark.parametrize("fault", ["names alone", "no list"])
def test_a_mirror_may_tell_less(hub: Hub, fault: str) -> None:
    hub.faults.add(fault)
    assert find_model("org/tiny").folder.joinpath("model.safetensors").is_file()


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    find_model("org/tiny")
    assert set(hub.tokens) == {"Bearer hf_token", None}
    weights = hub.asked.index("get model.safetensors")
    assert weights > 0 and hub.tokens[-1] is None


def test_an_index_says_which_weights_there_are(hub: Hub, models: Path, tmp_path: Path) -> None:
    sharded = tmp_path / "repos" / "sharded"
    init_model(sharded, "tiny", seed=7)
    (sharded / "model.safetensors").rename(sharded / "model-00001-of-00001.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    (sharded / "extra.safetensors").write_bytes(b"x" * 70_000)
    hub.root = tmp_path / "repos"
    there = {path.name for path in find_model("sharded").folder.iterdir()}
    assert "model-00001-of-00001.safetensors" in there and "extra.safetensors" not in there
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../x.safetensors"}}))
    hub.commit = "abc0" + "2" * 36
    with pytest.raises(InvalidModel, match="names what is no file"):
        find_model("sharded")


def test_one_file_of_weights_comes_before_an_index_stale_or_not(hub: Hub, tmp_path: Path) -> None:
    both = tmp_path / "repos" / "both"
    init_model(both, "tiny", seed=7)
    (both / "model-00001-of-00001.safetensors").write_bytes(b"x" * 70_000)
    hub.root = tmp_path / "repos"
    for commit, shard in (("a", "model-00001-of-00001.safetensors"), ("b", "model-00001-of-00009.safetensors")):
        hub.commit = commit * 40
        (both / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
        there = {path.name for path in find_model("both").folder.glob("*.safetensors")}
        assert there == {"model.safetensors"}


@pytest.mark.parametrize("lost", ["generation_config.json", "tokenizer_config.json", "model.safetensors"])
def test_a_copy_that_lost_a_file_is_not_whole(hub: Hub, lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = find_model("org/tiny")
    (place.folder / lost).unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Unavailable, match="not whole"):
        find_model("org/tiny")
    with pytest.raises(Unavailable, match="not whole"):
        find_model("org/tiny", COMMIT)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert (find_model("org/tiny").folder / lost).is_file()


def test_a_copy_of_another_program_is_served_with_a_warning(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = find_model("org/tiny")
    (made,) = Path(os.environ["HF_HOME"], "hub", "models--org--tiny", ".skipjoin").iterdir()
    made.unlink()
    (place.folder / "generation_config.json").unlink(missing_ok=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    caplog.clear()
    assert find_model("org/tiny") == place
    assert "another program made this copy" in caplog.text
    (place.folder / "tokenizer.json").unlink()
    with pytest.raises(Unavailable, match="not whole"):
        find_model("org/tiny")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    find_model("org/tiny")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    caplog.clear()
    assert find_model("org/tiny") == place
    assert "another program" not in caplog.text


def test_the_hubs_own_library_reads_the_cache_afterwards(hub: Hub) -> None:
    from huggingface_hub import scan_cache_dir

    find_model("org/tiny")
    found = scan_cache_dir(Path(os.environ["HF_HOME"], "hub"))
    assert not found.warnings and [repo.repo_id for repo in found.repos] == ["org/tiny"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gpt2", "gpt2"),
        ("org/name-1.5_B", "org/name-1.5_B"),
        ("https://huggingface.co/org/name", "org/name"),
        ("http://www.huggingface.co/org/name/", "org/name"),
        ("HTTPS://HuggingFace.co/org/name//", "org/name"),
        ("huggingface.co/org/name", "org/name"),
        ("www.hf.co/gpt2?library=x", "gpt2"),
        ("https://hf.co/org/name/tree/main", "org/name"),
        ("https://hf.co/gpt2/tree/main/?a=/b#c", "gpt2"),
        ("https://hf.co/org/name#files", "org/name"),
        ("https://huggingface.co/datasets/squad", None),
        ("https://huggingface.co/org/name/discussions", None),
        ("https://huggingface.co/", None),
        ("https://example.org/org/name", None),
        ("./x", None),
        ("../x", None),
        ("~/x", None),
        ("a b", None),
        ("n\u00f6", None),
        ("org/", None),
        ("org/na..me", None),
        ("x" * 97, None),
    ],
)
def test_what_an_id_looks_like(text: str, found: str | None) -> None:
    assert hub_id(text) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https://huggingface.co/org/name/tree/v1.0", "give org/name and use --revision v1.0"),
        ("hf.co/gpt2/tree/refs%2Fpr%2F1?x=y", "give gpt2 and use --revision refs/pr/1"),
    ],
)
def test_the_address_of_another_revision_is_refused_with_what_to_do(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        hub_id(text)


def test_names_follow_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "models--org--big-model" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    assert names_of(snapshot) == ("org/big-model", "big-model")
    assert names_of(tmp_path / "small") == ("small",)
    monkeypatch.chdir(snapshot)
    assert names_of(Path(".")) == ("org/big-model", "big-model")
