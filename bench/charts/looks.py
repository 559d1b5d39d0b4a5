"""How charts and the page look: a colour and a dash a policy, the style sheet, light and dark.

A policy that is often compared has a look of its own and keeps it on every page. The others share
thin grey.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape

from ...scheduler.series import parse
from .marks import line, tag


@dataclass(frozen=True, slots=True)
class Look:
    """A colour of the style sheet, a dash pattern (empty: solid), a width in pixels, how strong the
    colour is.
    """

    colour: str
    dash: str = ""
    width: float = 2.0
    strength: float = 1.0

    def paint(self, kind: str = "stroke") -> str:
        """The colour as a style: of a line, or of a surface (`fill`)."""
        faint = "" if self.strength == 1.0 else f";{kind}-opacity:{self.strength:.2f}"
        return f"{kind}:var(--{self.colour}){faint}"

    def stroke(self) -> dict[str, object]:
        """Attributes of a line."""
        more: dict[str, object] = {"stroke_dasharray": self.dash} if self.dash else {}
        return {"style": self.paint(), "stroke_width": self.width, "fill": "none", **more}


FAINTEST = 0.3
PLAIN = Look("other", "", 1.2)
LOOKS: dict[str, Look] = {
    "adaptive": Look("blue", "", 2.8),
    "skipjoin": Look("orange", "", 2.4),
    "mlfq": Look("yellow"),
    "gittins": Look("aqua"),
    "serpt": Look("aqua", "5 3"),
    "las": Look("magenta"),
    "ps": Look("magenta", "5 3"),
    "hrrn": Look("red"),
    "vtc": Look("brown"),
    "priority": Look("brown", "5 3"),
    "fcfs": Look("ink", "", 2.0),
    "fcfs-swap": Look("ink", "5 3", 1.8),
    "gamma-boost": Look("green"),
    "trail": Look("green", "5 3"),
    "srpt-0.5": Look("violet", "5 3"),
    "srpt-1.0": Look("violet", "2 2.5"),
    "sjf-oracle": Look("violet"),
    "srpt-oracle": Look("ink", "2 2.5", 2.0),
}
"""Policy -> look. The oracle is dotted, what is swapped, expected, shared or estimated is dashed."""

ORDER = tuple(LOOKS)


def look(name: str) -> Look:
    """The look of a policy, its own or the plain one; where its dial is set, fainter towards 0."""
    series = parse(name)
    plain = LOOKS.get(series.policy, PLAIN)
    return plain if series.tail is None else replace(plain, width=1.8, strength=FAINTEST + (1 - FAINTEST) * series.tail)


def ordered(names: list[str]) -> list[str]:
    """The policies as they are listed everywhere: those with a look first, by dial where it is set."""

    def place(name: str) -> tuple[int, str, float]:
        series = parse(name)
        at = ORDER.index(series.policy) if series.policy in LOOKS else len(ORDER)
        return at, series.policy, -1.0 if series.tail is None else series.tail

    return sorted(names, key=place)


def legend(policies: list[str]) -> str:
    """What line belongs to whom."""
    keys = []
    for policy in ordered(policies):
        swatch = tag("svg", line(0, 6, 26, 6, **look(policy).stroke()), viewBox="0 0 26 12", width=26, height=12)
        keys.append(tag("span", swatch, escape(policy), class_="key"))
    return tag("p", *keys, class_="legend")


CSS = """
:root{color-scheme:light;--page:#fbfbf9;--card:#fff;--ink:#16181d;--soft:#5d6470;--faint:#8b919b;--rule:#e4e4df;--grid:#ecece7;--other:#b4b8bf;
--blue:#2a78d6;--orange:#eb6834;--aqua:#1baf7a;--yellow:#d99a00;--magenta:#d9689a;--green:#008300;--violet:#4a3aa7;--red:#d23a39;--brown:#8a5a2b;
--h0:#f3f7fc;--h1:#dbe9f8;--h2:#b9d4f1;--h3:#8fbae6;--h4:#5c98d6;--h5:#2f72ba;--h6:#174a86;--good:#e4f4ea}
@media (prefers-color-scheme:dark){:root{color-scheme:dark;--page:#15161a;--card:#1d1f24;--ink:#eceef2;--soft:#a9afba;--faint:#7f8591;--rule:#33363d;
--grid:#2a2d33;--other:#5c626d;--blue:#5a9ded;--orange:#f0814f;--aqua:#35c08d;--yellow:#dba52a;--magenta:#e07fab;--green:#3faa3f;--violet:#9a8ff0;
--red:#ee6766;--brown:#c08a55;--h0:#20252c;--h1:#1f3247;--h2:#214463;--h3:#255a87;--h4:#2f74ae;--h5:#5b9ad0;--h6:#a3cbee;--good:#1d3527}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1240px;margin:0 auto;padding:40px 24px 80px}
h1{font-size:30px;line-height:1.2;margin:0 0 8px;letter-spacing:-.01em}h2{font-size:20px;margin:52px 0 4px}h3{font-size:15px;margin:22px 0 6px}
p{max-width:76ch;margin:6px 0;color:var(--soft)}.lead{font-size:17px;color:var(--ink)}
.facts{display:flex;flex-wrap:wrap;gap:6px 28px;margin:18px 0 0;padding:14px 0;border-block:1px solid var(--rule);color:var(--soft);font-size:13px}
.facts b{color:var(--ink);font-weight:600}
.legend{display:flex;flex-wrap:wrap;gap:2px 18px;max-width:none;font-size:13px;color:var(--ink);margin:12px 0}
.key{display:inline-flex;align-items:center;gap:7px;white-space:nowrap}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(265px,1fr));gap:14px}.wide{display:grid;gap:14px}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:14px}
figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:10px 10px 4px}
figcaption{font-size:13px;font-weight:600;margin:0 0 4px 4px}figcaption span{font-weight:400;color:var(--soft)}
svg{display:block;width:100%;height:auto}.legend svg{width:26px}
svg text{font:11px system-ui,-apple-system,"Segoe UI",sans-serif;fill:var(--soft)}svg text.name{fill:var(--ink);font-weight:600}
.grid{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--faint);stroke-width:1}.one{stroke:var(--faint);stroke-width:1;stroke-dasharray:3 3}
.bound{stroke:var(--faint);stroke-width:1;stroke-dasharray:1 3}.front{stroke:var(--soft);stroke-width:1.2;fill:none;stroke-dasharray:4 3}
.others{stroke:var(--faint);stroke-width:1.4;fill:none;stroke-dasharray:1.5 2.5}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--rule);border-radius:10px}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:6px 8px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
th{font-weight:600;color:var(--soft);font-size:12px;vertical-align:bottom}tr:last-child td,tr:last-child th{border-bottom:0}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--card)}td:first-child{font-weight:600}
td small{color:var(--soft);font-size:11px}.wide-head th{text-align:center}.best{background:var(--good)}.group{border-left:1px solid var(--rule)}
.heat{width:auto}.heat td{min-width:64px;border:2px solid var(--card);text-align:center}.heat td:first-child,
.heat td.plain{text-align:left;border-left:0;font-weight:400}
.heat th{text-align:center;white-space:normal}.heat th:first-child{text-align:left}
.q0{background:var(--h0)}.q1{background:var(--h1)}.q2{background:var(--h2)}.q3{background:var(--h3);color:#0d1b2a}
.q4{background:var(--h4);color:#fff}.q5{background:var(--h5);color:#fff}.q6{background:var(--h6);color:#fff}
@media (prefers-color-scheme:dark){.q3{color:#fff}.q5,.q6{color:#0d1b2a}}
.wait{stroke:var(--other);stroke-width:1.5}.run{stroke-width:7}.first{stroke:var(--card);stroke-width:2}
details{margin-top:16px}summary{cursor:pointer;color:var(--soft);font-size:14px}footer{margin-top:60px;color:var(--faint);font-size:12px}
"""
