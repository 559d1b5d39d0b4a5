"""Settings: one model, three sources, and what is refused."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from skipjoin.core.errors import InvalidModel, InvalidSettings
from skipjoin.scheduler.adaptive.head_start import DEFAULT_TAIL
from skipjoin.serving.flags import add_flags, settings_from
from skipjoin.serving.settings import GROUPS, OTHER_VARIABLES, ServeSettings, load_settings, located

REALS = [name for name, field in ServeSettings.model_fields.items() if field.annotation is float]
WHOLES = [name for name, field in ServeSettings.model_fields.items() if field.annotation in (int, int | None)]
SIMULATED = {"executor": "simulated"}


def _parse(*words: str) -> ServeSettings:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return settings_from(parser.parse_args(words))


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.toml"
    file.write_text('executor = "simulated"\nmax_batch = 3\nkv_tokens = 1024\nmax_streams = 7\n')
    monkeypatch.setenv("SKIPJOIN_MAX_BATCH", "4")
    monkeypatch.setenv("SKIPJOIN_KV_TOKENS", "2048")
    settings = _parse("--settings", str(file), "--max-batch", "5")
    assert (settings.max_batch, settings.kv_tokens, settings.max_streams) == (5, 2048, 7)


def test_a_variable_in_small_letters_wins_over_the_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "s.toml"
    file.write_text('executor = "simulated"\nmax_batch = 3\n')
    monkeypatch.setenv("skipjoin_max_batch", "8")
    assert _parse("--settings", str(file)).max_batch == 8


@pytest.mark.parametrize("word", ["off", "OFF"])
def test_http_is_closed_by_off_in_the_environment_and_by_nothing_elsewhere(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings({**SIMULATED, "http_listen": ""}).http_listen is None
    monkeypatch.setenv("SKIPJOIN_HTTP_LISTEN", word)
    assert load_settings(SIMULATED).http_listen is None


@pytest.mark.parametrize(
    ("path", "text"),
    [("./my-model", "./my-model"), ("org/name", "./org/name"), ("/a/b", "/a/b"), ("~/m", "~/m"), ("../m", "./../m")],
)
def test_a_path_is_a_folder_and_never_an_id_of_the_hub(path: str, text: str) -> None:
    settings = load_settings({"model": Path(path)})
    assert settings.model == text
    with pytest.raises(InvalidModel, match="There is no folder"):
        located(settings)


def test_every_field_is_a_flag_and_no_flag_is_anything_else() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    flags = {action.dest for action in parser._actions} - {"help", "settings", "model_word"}
    assert flags == set(ServeSettings.model_fields)


def test_a_server_that_is_told_no_policy_learns_lengths() -> None:
    settings = load_settings(SIMULATED)
    assert (settings.policy, settings.tail) == ("adaptive", DEFAULT_TAIL)


def test_every_field_says_what_it_is() -> None:
    assert [name for name, field in ServeSettings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        ({}, "model"),
        ({**SIMULATED, "max_batch": "many"}, "max_batch"),
        ({**SIMULATED, "max_batch": 0}, "max_batch"),
        ({**SIMULATED, "policy": "srpt-oracle"}, "policy"),
        ({**SIMULATED, "policy": "gamma-boost"}, "policy"),
        ({**SIMULATED, "policy": "fastest"}, "policy"),
        ({**SIMULATED, "listen": "nowhere"}, "listen"),
        ({**SIMULATED, "listen": "127.0.0.1:70000"}, "listen"),
        ({**SIMULATED, "job_pool": "postgres:x"}, "job_pool"),
        ({**SIMULATED, "job_pool": "sqlite:"}, "job_pool"),
        ({**SIMULATED, "tls_cert": "a.pem"}, "tls_cert"),
        ({**SIMULATED, "listen": "0.0.0.0:50071"}, "listen"),
        ({**SIMULATED, "http_listen": "192.168.1.1:80"}, "http_listen"),
        ({**SIMULATED, "listen": "0.0.0.0:1", "tls_cert": "a", "tls_key": "b"}, "listen"),
        ({**SIMULATED, "dtype": "int3"}, "dtype"),
        ({**SIMULATED, "max_message_bytes": 10_000, "payload_bytes": 19_999}, "payload_bytes"),
        ({**SIMULATED, "call_cap_s": "nan"}, "call_cap_s"),
        *(({**SIMULATED, name: "inf"}, name) for name in REALS),
        *(({**SIMULATED, name: "1e300"}, name) for name in REALS),
        *(({**SIMULATED, name: "9" * 20}, name) for name in WHOLES),
    ],
)
def test_what_cannot_be_is_refused_by_name(flags: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load_settings(flags)
    assert refused.value.field == field
    assert field in str(refused.value)


@pytest.mark.parametrize(
    "name", [name for name, field in ServeSettings.model_fields.items() if get_origin(field.annotation) is Literal]
)
def test_a_word_that_a_flag_does_not_know_is_said_as_any_other_wrong_value(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """argparse would print the usage of all flags in front of it."""
    with pytest.raises(InvalidSettings) as refused:
        _parse("--" + name.replace("_", "-"), "float99")
    words = get_args(ServeSettings.model_fields[name].annotation)
    assert refused.value.field == name and all(word in str(refused.value) for word in words)
    assert capsys.readouterr().err == ""


def test_an_oracle_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidSettings, match="trail ranks by output lengths, which nobody knows") as refused:
        load_settings({**SIMULATED, "policy": "trail"})
    assert refused.value.field == "policy"
    assert "skipjoin simulate" in str(refused.value)
    with pytest.raises(InvalidSettings, match=r"one of skipjoin, fcfs, .*adaptive"):
        load_settings({**SIMULATED, "policy": "fastest"})
    assert load_settings({**SIMULATED, "policy": "hrrn"}).policy == "hrrn"


@pytest.mark.parametrize(
    "flags",
    [
        {"listen": "0.0.0.0:1", "insecure": True},
        {"listen": "0.0.0.0:1", "tls_cert": "a", "tls_key": "b", "tokens": "c"},
        {"listen": "[::1]:0"},
        {"listen": "localhost:0", "http_listen": ""},
    ],
)
def test_safe_or_said_to_be_insecure_is_taken(flags: dict[str, object]) -> None:
    assert load_settings({**SIMULATED, **flags}).listen == flags["listen"]


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        ("max_bach = 3\n", "max_bach", "s.toml has an unknown key: max_bach. Is it max_batch?"),
        ("tial = 3\n", "tial", "s.toml has an unknown key: tial. Is it tail?"),
        ("zzz = 3\n", "zzz", "s.toml has an unknown key: zzz."),
        ('tail = "low"\n', "tail", "s.toml: tail: Input should be a valid number"),
        ('listen = "0.0.0.0:1"\n', "listen", "s.toml: listen: 0.0.0.0:1 can be reached"),
        ("max_batch = = 3", "settings", "s.toml is no TOML file: Invalid value (at line 1"),
        (None, "settings", "--settings s.toml cannot be read: No such file"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_the_key(
    tmp_path: Path, text: str | None, field: str, says: str
) -> None:
    file = tmp_path / "s.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidSettings) as refused:
        load_settings(SIMULATED, file)
    assert refused.value.field == field
    assert refused.value.message.startswith(says)


def test_a_file_of_other_bytes_is_refused_by_line(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_bytes(b"tail = 0.5\nmodel = '\xff'\n")
    with pytest.raises(InvalidSettings, match=r"s\.toml, line 2 is not UTF-8"):
        load_settings(SIMULATED, file)


def test_the_file_is_not_blamed_for_what_stands_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "s.toml"
    file.write_text("tail = 2\n")
    with pytest.raises(InvalidSettings, match=r"^s\.toml: tail: "):
        load_settings(SIMULATED, file)
    with pytest.raises(InvalidSettings, match=r"^tail: "):
        load_settings({**SIMULATED, "tail": 3}, file)
    monkeypatch.setenv("SKIPJOIN_TAIL", "4")
    with pytest.raises(InvalidSettings, match=r"^tail: "):
        load_settings(SIMULATED, file)


def test_settings_survive_the_way_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings({**SIMULATED, "max_batch": 9, "http_listen": ""})
    monkeypatch.setenv("SKIPJOIN_MAX_BATCH", "4")
    monkeypatch.setenv("SKIPJOIN_HTTP_LISTEN", "127.0.0.1:1")
    assert ServeSettings.model_validate_json(settings.model_dump_json()) == settings


def test_every_option_stands_in_one_group_and_help_shows_it_there() -> None:
    grouped = [name for group in GROUPS.values() for name in group.model_fields]
    assert sorted(grouped) == sorted(ServeSettings.model_fields)
    parser = argparse.ArgumentParser()
    add_flags(parser)
    shown = parser.format_help()
    titles = [f"\n{title}:\n" for title, group in GROUPS.items() if group.model_fields]
    assert [title for title in titles if title not in shown] == []
    assert sorted(titles, key=shown.index) == titles


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("SKIPJOIN_MAX_BACH", "The environment has SKIPJOIN_MAX_BACH, which is no setting. Is it SKIPJOIN_MAX_BATCH?"),
        ("skipjoin_tial", "The environment has skipjoin_tial, which is no setting. Is it SKIPJOIN_TAIL?"),
        ("SKIPJOIN_TARGETT", "Is it SKIPJOIN_TARGET?"),
        ("SKIPJOIN_ZZZZ", "The environment has SKIPJOIN_ZZZZ, which is no setting."),
    ],
)
def test_a_mistyped_variable_is_refused_as_a_key_of_the_file_is(
    variable: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "3")
    with pytest.raises(InvalidSettings) as refused:
        load_settings(SIMULATED)
    assert says in str(refused.value) and refused.value.field == variable
    monkeypatch.setenv(variable, "")
    load_settings(SIMULATED)


def test_other_variables_and_those_of_a_cluster_are_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TARGET", "TOKEN", "BENCH_DATA", "NATIVE", "ADMIN_SOCKET"):
        monkeypatch.setenv(f"SKIPJOIN_{name}", "x")
    for name in ("SERVICE_HOST", "SERVICE_PORT_GRPC", "PORT", "PORT_50071_TCP_ADDR", "HTTP_SERVICE_PORT", "HTTP_PORT"):
        monkeypatch.setenv(f"SKIPJOIN_{name}", "tcp://10.0.0.1:80")
    load_settings(SIMULATED)
    monkeypatch.setenv("SKIPJOIN_PORT", "9000")  # a person's, who means `listen`
    with pytest.raises(InvalidSettings, match="SKIPJOIN_PORT, which is no setting"):
        load_settings(SIMULATED)


def test_every_variable_that_the_product_reads_is_known() -> None:
    """A new one that is no setting has to be told to the check, or it would refuse it."""
    root = Path(__file__).resolve().parents[2]
    sources = [path for path in root.rglob("*.py") if not {".venv", "tests"} & set(path.relative_to(root).parts)]
    read = {name for path in sources for name in re.findall(r'"SKIPJOIN_([A-Z_]+)"', path.read_text())}
    assert {"TARGET", "BENCH_DATA", "NATIVE"} <= read
    assert {name for name in read if name.lower() not in ServeSettings.model_fields} <= OTHER_VARIABLES


def test_a_value_from_the_environment_is_said_to_be_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIPJOIN_MAX_BATCH", "many")
    with pytest.raises(InvalidSettings, match=r"^max_batch: .*SKIPJOIN_MAX_BATCH in the environment"):
        load_settings(SIMULATED)


def test_the_model_is_a_word_or_a_flag_and_not_both() -> None:
    assert _parse("some/model").model == "some/model"
    assert _parse("--model", "./folder").model == "./folder"
    with pytest.raises(InvalidSettings, match="given twice, as a and as --model b"):
        _parse("a", "--model", "b")


def test_a_model_has_as_many_names_as_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _parse("--executor", "simulated").names == ("simulated",)
    assert _parse("x/small").names == ("small",)
    assert _parse("x/small", "--served-model-name", "a", "--served-model-name", "b/c").names == ("a", "b/c")
    file = tmp_path / "s.toml"
    file.write_text('model = "x"\nserved_model_name = ["a", "b"]\n')
    assert load_settings({}, file).names == ("a", "b")
    monkeypatch.setenv("SKIPJOIN_SERVED_MODEL_NAME", "c, d")
    assert load_settings({}, file).names == ("c", "d")
    for wrong in ([""], ["x" * 257], ["a\n"], [" a"], [str(i) for i in range(65)], [1]):
        with pytest.raises(InvalidSettings) as refused:
            load_settings({**SIMULATED, "served_model_name": wrong})
        assert refused.value.field == "served_model_name"


def test_a_model_is_located_once_and_for_all(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("b" * 40)
    snapshot.mkdir(parents=True)
    found = located(load_settings({"model": snapshot}))
    assert (found.folder, found.names, found.revision) == (snapshot, ("org/name", "name"), None)
    assert ServeSettings.model_validate_json(found.model_dump_json()) == found
    with pytest.raises(InvalidModel, match=r"no folder .*/none"):
        located(load_settings({"model": tmp_path / "none"}))
