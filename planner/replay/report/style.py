"""How the page looks, and how policies are told apart.

Owns the palette: each policy has a colour, a dash and a mark, so that neither colour vision
nor a colour printer is needed. Colours are of Okabe and Ito's set for the colour blind
(Color Universal Design, 2008), lighter on a dark ground. Refuses meaning beyond that.
"""

from dataclasses import dataclass

from planner.replay.report.markup import element


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Of one policy in line drawings.

    Attributes:
        number: Its class is `p0`, `p1`, …
        dash: Of its line, as SVG writes it; empty: solid.
    """

    number: int
    dash: str

    @property
    def class_name(self) -> str:
        """Of its elements."""
        return f"p{self.number}"


_DASHES = ("", "7 3", "2 3", "10 3 2 3", "5 2 1 2 1 2", "12 4", "4 4", "1 4", "14 3 3 3 3 3")
_LIGHT = (
    "#0072b2", "#d55e00", "#007d5a", "#b3478c", "#8a6d00", "#2b7fae", "#5b4bb5", "#a03a3a",
    "#444444",
)  # fmt: skip
_DARK = (
    "#56b4e9", "#f0894a", "#2fc79a", "#e39ac4", "#e6c229", "#9bd3f5", "#b3a7f2", "#f29c9c",
    "#c8c8c8",
)  # fmt: skip


def look(number: int) -> Look:
    """Of the policy at that place in the document; colours repeat after nine, with dashes."""
    return Look(number=number % len(_LIGHT), dash=_DASHES[number % len(_DASHES)])


def _palette(colours: tuple[str, ...]) -> str:
    return "".join(f"--p{number}:{colour};" for number, colour in enumerate(colours))


_LIGHT_GROUND = (
    "--ground:#ffffff;--ink:#1c1f23;--soft:#565d66;--line:#d5d9de;--panel:#f5f6f8;"
    "--online:#c3c9d1;--load:#4a5058;--limit:#a11c1c;--good:#0b6b3a;--bad:#a11c1c;"
)
_DARK_GROUND = (
    "--ground:#15181c;--ink:#e8eaed;--soft:#a6adb6;--line:#3a4047;--panel:#1e2227;"
    "--online:#565e69;--load:#c9ced6;--limit:#ff8f8f;--good:#6bd79d;--bad:#ff8f8f;"
)

_RULES = """
*{box-sizing:border-box}
html{background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
body{max-width:1000px;margin:0 auto;padding:28px 28px 60px}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .3rem;text-wrap:balance}
h2{font-size:1.25rem;margin:2.6rem 0 .6rem;padding-top:.8rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
p,ul{margin:.5rem 0;max-width:46rem}
a{color:inherit}
.under{color:var(--soft);margin-top:0}
.lead{font-size:1.06rem}
.notes{background:var(--panel);border-left:3px solid var(--soft);padding:.5rem 1rem;
margin:1.2rem 0}
.notes ul{margin:.2rem 0;padding-left:1.2rem}
figure{margin:1rem 0 .3rem;break-inside:avoid}
figcaption{color:var(--soft);font-size:.92rem;max-width:46rem;margin-top:.4rem}
figure,.scroll{overflow-x:auto}
svg{display:block;width:100%;height:auto}
figure>svg{min-width:660px}
svg text{fill:var(--soft);font:13px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;
font-variant-numeric:tabular-nums}
svg .name{fill:var(--ink);font-weight:600}
svg .axis{stroke:var(--soft);stroke-width:1;fill:none}
svg .grid{stroke:var(--line);stroke-width:1;fill:none}
svg .limit{stroke:var(--limit);stroke-width:1.5;fill:none;stroke-dasharray:5 3}
svg .limit-mark{stroke:var(--limit);stroke-width:2.5;fill:none}
svg .limit-text{fill:var(--limit);paint-order:stroke;stroke:var(--ground);
stroke-width:4px;stroke-linejoin:round}
svg .online{fill:var(--online)}
svg .load{stroke:var(--load);stroke-width:1.2;fill:none}
svg .curve{fill:none;stroke-width:2.2;stroke-linejoin:round}
svg .missed{fill-opacity:.3}
svg .alone{fill-opacity:.35}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.4rem;list-style:none;padding:0;
margin:.2rem 0 .4rem;font-size:.92rem}
.legend li{display:flex;align-items:center;gap:.45rem}
.legend svg{width:38px;height:14px;flex:none}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums;
margin:.4rem 0}
caption{text-align:left;color:var(--soft);font-size:.92rem;padding-bottom:.3rem}
th,td{padding:.28rem .7rem .28rem 0;border-bottom:1px solid var(--line);text-align:left;
vertical-align:top}
td.n,th.n{text-align:right}td.n{white-space:nowrap}td .name,tbody th code{white-space:nowrap}
thead th{color:var(--soft);font-weight:600;vertical-align:bottom}
tbody th{font-weight:600}
.kept{color:var(--good);font-weight:600;white-space:nowrap}
.lost{color:var(--bad);font-weight:600;white-space:nowrap}
details{margin:.3rem 0 1.6rem}
summary{cursor:pointer;color:var(--soft);font-size:.92rem}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
dl{margin:.4rem 0}
dt{font-weight:600;margin-top:.7rem}
dd{margin:.1rem 0 0;max-width:46rem}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(290px,1fr));gap:0 2.2rem}
@media print{html{font-size:11pt}body{max-width:none;padding:0}h2{break-after:avoid}
details:not([open]){display:none}}
"""


def style_sheet() -> str:
    """The page's style: light, dark where the reader's system is, light again on paper."""
    light = f"{_LIGHT_GROUND}{_palette(_LIGHT)}"
    dark = f"{_DARK_GROUND}{_palette(_DARK)}"
    policies = "".join(
        f"svg .curve.p{n},svg .mark.p{n}{{stroke:var(--p{n})}}"
        f"svg .area.p{n}{{fill:var(--p{n})}}svg text.p{n}{{fill:var(--p{n})}}"
        for n in range(len(_LIGHT))
    )
    rules = (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        f"{_RULES}{policies}"
    )
    return element("style", rules)
