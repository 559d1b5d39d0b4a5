"""Chat templates in their process: as Transformers renders them, and whatever a hostile one asks
for, an answer comes and the next one renders.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

import skipjoin.model.text.renderer
from skipjoin.core.errors import InvalidInput, Unavailable
from skipjoin.model.text.renderer import BeyondBounds, RenderBounds, RenderedTooLong, Renderer

HELLO = [{"role": "user", "content": "hi"}]
SOON = RenderBounds(time_s=0.5, memory_bytes=150_000_000)


def rendered(source, messages=HELLO, special=None, bounds=SOON):
    renderer = Renderer(source, special or {}, bounds)
    try:
        return renderer.render(messages)
    finally:
        renderer.close()


GROWS = [
    "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
    "{{ '{:4000000000}'.format(1) }}",
    "{{ messages[0].content * 10**10 }}",
    "{{ messages * 10**10 }}",
    "{{ '%4000000000d' % 1 }}",
    "{{ messages[0].content.ljust(4000000000) }}",
    "{{ messages[0].content | center(4000000000) }}",
    "{{ messages | batch(1000000000, 'x') | list | length }}",
    "{{ ('x' * 65536).replace('x', 'y' * 65536) }}",
    "{{ messages | tojson(indent=1000000000) }}",
]
LASTS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% "
    "endfor %}",
    "{{ messages | slice(2000000000) | list | length }}",
    "{{ lipsum(n=100000000) }}",
    "{% set x = (messages | length + 9) ** 1000000 %}{{ (x ** 99999) % 7 }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
]
REFUSED = [
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for m in messages recursive %}{{ loop([m]) }}{% endfor %}",
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.append(1) }}",
    "{{ undefined.attribute }}",
    "{{ messages | length // 0 }}",
    "{% include 'config.json' %}",
    "{% import 'config.json' as x %}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ range(10**12) }}",
    "{{ namespace(_x=1) }}",
    "{{ 'x'.encode('idna') }}",
]


@pytest.mark.parametrize("source", [*GROWS, *LASTS])
def test_what_takes_all_time_or_memory_is_ended(source):
    renderer = Renderer(source, {}, SOON)
    with pytest.raises(BeyondBounds, match=r"takes too much (time|memory)") as caught:
        renderer.render(HELLO)
    assert caught.value.field == "messages"
    assert caught.value.setting in ("template_time_s", "template_memory_bytes")
    renderer.close()


@pytest.mark.parametrize("source", REFUSED)
def test_a_template_stays_in_its_sandbox(source):
    with pytest.raises(InvalidInput) as caught:
        rendered(source)
    assert caught.value.field == "messages"
    assert "/" not in caught.value.message


def test_after_a_kill_the_next_conversation_renders():
    source = (
        "{% if messages[0].content == 'long' %}{% for a in range(99999) %}{% for b in range(99999) %}{% "
        "endfor %}{% endfor %}{% endif %}ok"
    )
    renderer = Renderer(source, {}, SOON)
    assert renderer.render(HELLO) == "ok"
    with pytest.raises(InvalidInput, match="too much time"):
        renderer.render([{"role": "user", "content": "long"}])
    assert renderer.render(HELLO) == "ok"
    assert renderer._process is not None
    os.kill(renderer._process.pid, signal.SIGKILL)  # as the kernel does when memory is short
    renderer._process.wait()
    assert renderer.render(HELLO) == "ok"
    renderer.close()


@pytest.mark.parametrize(("end", "said"), [("kill", "process ended; try again"), ("close", "going down")])
def test_what_others_end_is_not_the_callers_fault(end, said):
    renderer = Renderer(
        LASTS[0].replace("{% for a", "{% if messages[0].content %}{% for a") + "{% endif %}", {}, RenderBounds(60.0)
    )
    renderer.render([{"role": "user", "content": ""}])
    process = renderer._process
    begun_s = _processor_s(process.pid)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(renderer.render, HELLO)
        while _processor_s(process.pid) < begun_s + 0.1:  # it renders
            time.sleep(0.01)
        if end == "kill":
            os.kill(process.pid, signal.SIGKILL)
        else:
            renderer.close()
        with pytest.raises(Unavailable, match=said):
            asked.result()
    renderer.close()


def test_a_process_that_does_not_start_in_time_is_not_the_callers_fault(monkeypatch):
    monkeypatch.setattr(skipjoin.model.text.renderer, "_START_S", 0.0)
    with pytest.raises(Unavailable, match="too long to start"):
        rendered("x")


def _processor_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def test_the_process_ends_with_its_renderer():
    renderer = Renderer("x", {}, SOON)
    renderer.start()
    process = renderer._process
    del renderer
    assert process.poll() is not None


def test_threads_take_turns():
    renderer = Renderer("{{ messages[0].content }}", {}, RenderBounds())
    said: dict[int, str] = {}

    def ask(number: int) -> None:
        for _ in range(20):
            said[number] = renderer.render([{"role": "user", "content": str(number) * 5000}])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {number: str(number) * 5000 for number in range(5)}
    renderer.close()


def test_no_more_text_than_was_asked_for():
    renderer = Renderer("{{ messages[0].content * 100 }}", {}, SOON)
    assert len(renderer.render(HELLO, 200)) == 200
    with pytest.raises(RenderedTooLong):
        renderer.render(HELLO, 199)
    renderer.close()


def test_a_refusal_is_passed_on_and_its_words_are_bounded():
    with pytest.raises(InvalidInput, match="no system prompt, please") as caught:
        rendered("{{ raise_exception('no system prompt, please' * 1000) }}")
    assert len(caught.value.message) < 400


TEMPLATES = {file.stem: file.read_text() for file in (Path(__file__).parent / "chat_templates").glob("*.jinja")}
CONVERSATIONS = {
    "one": HELLO,
    "system": [{"role": "system", "content": " Be brief. \n"}, {"role": "user", "content": "Héllo <b>\U0001f600</b>"}],
    "turns": [
        {"role": "user", "content": "a", "name": "ada"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb"},
        {"role": "user", "content": "\nc "},
    ],
    "wrong order": [{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y"}],
}


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_templates_render_as_in_transformers(name):
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    renderer = Renderer(TEMPLATES[name], special, RenderBounds())
    for messages in CONVERSATIONS.values():
        try:
            (expected,), _ = render_jinja_template(
                [messages], chat_template=TEMPLATES[name], add_generation_prompt=True, **special
            )
        except TemplateError:
            with pytest.raises(InvalidInput):
                renderer.render(messages)
        else:
            assert renderer.render(messages) == expected
    renderer.close()
