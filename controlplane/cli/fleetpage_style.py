"""How the picture of a fleet looks, light and dark.

Owns colours and rules. A deployment has a number beside its colour, a state has an outline
beside its tint, so neither colour vision nor a colour printer is needed. Colours are of Okabe
and Ito's set for the colour blind (Color Universal Design, 2008), lighter on a dark ground;
past nine deployments they repeat, and the number tells. Refuses meaning beyond that.
"""

from planner.replay.report.markup import element

_LIGHT = (
    "#0072b2", "#d55e00", "#007d5a", "#b3478c", "#8a6d00", "#2b7fae", "#5b4bb5", "#a03a3a",
    "#555b63",
)  # fmt: skip
_DARK = (
    "#56b4e9", "#f0894a", "#2fc79a", "#e39ac4", "#e6c229", "#9bd3f5", "#b3a7f2", "#f29c9c",
    "#c8c8c8",
)  # fmt: skip
_LIGHT_GROUND = (
    "--ground:#ffffff;--ink:#1c1f23;--soft:#565d66;--line:#d5d9de;--panel:#f5f6f8;"
    "--free:#e9ecef;--bad:#a11c1c;--warn:#8a5300;"
)
_DARK_GROUND = (
    "--ground:#15181c;--ink:#e8eaed;--soft:#a6adb6;--line:#3a4047;--panel:#1e2227;"
    "--free:#2a2f36;--bad:#ff8f8f;--warn:#f0b45a;"
)
_FREE_OF_OFFLINE = 0.52
"""How far offline work's tint goes from its deployment's colour to the ground."""
_FREE_OF_WORK = 0.86
"""The same of headroom, which a number in ink has to stand on."""

_RULES = """
*{box-sizing:border-box}
html{background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
body{margin:0 auto;padding:24px 28px 60px;max-width:1880px}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .2rem;text-wrap:balance}
h2{font-size:1.2rem;margin:2.2rem 0 .5rem;padding-top:.7rem;border-top:1px solid var(--line)}
h3{font-size:.95rem;margin:1rem 0 .35rem;font-weight:600}
h3 span{color:var(--soft);font-weight:400;margin-left:.6em}
.large h3 span{display:block;margin:0}
p,ul{margin:.5rem 0;max-width:52rem}
.under{color:var(--soft);margin-top:0}
.notes{background:var(--panel);border-left:4px solid var(--bad);padding:.4rem 1rem;
margin:1rem 0;max-width:60rem}
.notes ul{margin:.2rem 0;padding-left:1.2rem;max-width:none}
.facts{display:flex;flex-wrap:wrap;gap:.5rem 2.4rem;margin:1rem 0;padding:0}
.facts div{display:flex;flex-direction:column-reverse}
.facts dt{color:var(--soft);font-size:.85rem}
.facts dd{margin:0;font-size:1.35rem;font-weight:600;line-height:1.25;
font-variant-numeric:tabular-nums}
.keys{position:sticky;top:0;z-index:2;background:var(--ground);border:0;
border-bottom:1px solid var(--line);margin:0 0 .6rem;padding:.45rem 0;display:flex;
flex-wrap:wrap;gap:.25rem .3rem;max-height:8.4rem;overflow-y:auto;min-width:0}
.keys legend{float:left;width:100%;padding:0;color:var(--soft);font-size:.85rem}
.keys label{display:inline-flex;align-items:center;gap:.35rem;font-size:.85rem;
padding:.08rem .5rem .08rem .15rem;border:1px solid transparent;border-radius:4px;
cursor:pointer;max-width:17rem}
.keys label>b{font-weight:400;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.keys input{position:absolute;opacity:0;width:1px;height:1px}
.keys label:hover{background:var(--panel)}
.keys label:has(:checked){border-color:var(--ink)}
.keys label:has(:focus-visible){outline:2px solid var(--ink);outline-offset:1px}
.fleet{display:flex;flex-wrap:wrap;gap:0 2.2rem}.fleet>section{min-width:0;max-width:100%}
.nodes{display:flex;flex-wrap:wrap;gap:10px 12px;margin:0 0 .6rem}
.h{width:calc(var(--n)*var(--w) + 10px);min-width:calc(2*var(--w) + 34px);padding:3px 4px 4px;
border:1px solid var(--line);border-radius:4px;background:var(--panel)}
.h>p{display:flex;gap:.5em;margin:0;font:600 11px/15px system-ui,sans-serif;white-space:nowrap}
.h>p>*{overflow:hidden;text-overflow:ellipsis;font-weight:inherit}
.h>p>i{color:var(--warn);font-style:normal;flex:0 1000 auto;margin-left:auto;padding:0 .3em;
background:var(--panel);border-radius:3px}
.h.off{background:repeating-linear-gradient(135deg,var(--panel) 0 5px,var(--line) 5px 6px)}
.h.off,.h.froz{border-color:var(--soft)}
.h.froz{border-style:double;border-width:3px;padding:1px 2px 2px}
.h.gone{border:2px dashed var(--bad);padding:2px 3px 3px}.h.gone>p>i{color:var(--bad)}
.g{display:grid;grid-template-columns:repeat(var(--n),var(--w));grid-auto-rows:var(--h);
grid-auto-flow:dense}
.g>*,.swatch{border:1px solid var(--ground);border-radius:3px;overflow:hidden;
text-align:center;font:600 11px/14px system-ui,sans-serif;font-variant-numeric:tabular-nums;
letter-spacing:-.03em}
.g>i{background:var(--free);font-style:normal}
.r{--x:0%;--y:0%;color:var(--ink);background:linear-gradient(to top,var(--a) var(--x),
var(--b) var(--x) var(--y),var(--c) var(--y)) bottom/100% calc(100% - 14px) no-repeat var(--c);
border-color:var(--a)!important}
.r.unknown{background:linear-gradient(var(--b),var(--b)) bottom/100% calc(100% - 14px) no-repeat
var(--c)}
.r.planned{border-style:dotted!important;background:var(--ground);color:var(--soft)}
.r.starting{border-style:dashed!important;border-width:2px!important;line-height:12px}
.r.leaving{text-decoration:line-through;opacity:.62}
.r.failed,.r.lost{border:2px solid var(--bad)!important;line-height:12px;background:
repeating-linear-gradient(45deg,transparent 0 4px,var(--bad) 4px 5px) bottom/100%
calc(100% - 14px) no-repeat var(--ground);color:var(--bad)}
.r.lost{border-style:dashed!important}
.r.pin{box-shadow:inset 0 0 0 1.5px var(--ink)}
.swatch{display:inline-block;flex:none;width:26px;height:26px;vertical-align:middle}
.keys .swatch{width:24px;height:17px;line-height:15px;background:var(--b)}
.small{--w:15px;--h:21px}.small .g>*{font-size:8.5px;line-height:10px;border-radius:2px}
.small .r{background-size:100% calc(100% - 10px)}
.small .nodes{gap:6px 7px}.small .h>p{font-size:9.5px;line-height:12px}
.small .h{padding:1px 3px 3px}
.small section{content-visibility:auto;contain-intrinsic-size:auto 400px}
.large{--w:24px;--h:34px}
.how{display:grid;grid-template-columns:repeat(auto-fill,minmax(19rem,1fr));gap:.35rem 1.6rem;
list-style:none;padding:0;max-width:none;font-size:.9rem}
.how li{display:flex;gap:.6rem;align-items:center}.how .h{width:26px;min-width:0;height:26px;
flex:none}
.how .g{display:block;--w:26px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;margin:.4rem 0}
caption{text-align:left;color:var(--soft);padding-bottom:.3rem}
th,td{padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line);text-align:left;
vertical-align:top}
td.n,th.n{text-align:right}td.n{white-space:nowrap}
thead th{white-space:nowrap;color:var(--soft);font-weight:600;vertical-align:bottom}
tbody th{font-weight:600;white-space:nowrap}
.bad{color:var(--bad);font-weight:600}
details{margin:.4rem 0 1.2rem}summary{cursor:pointer;color:var(--soft)}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
@media print{html{font-size:10pt}body{max-width:none;padding:0}.keys{position:static;
max-height:none}details:not([open]){display:none}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


def hue(number: int) -> str:
    """The colour class of a deployment's number."""
    return f"k{(number - 1) % len(_LIGHT)}"


def style_sheet(deployments: int) -> str:
    """The page's style: light, dark where the reader's system is, light again on paper.

    Args:
        deployments: How many there are; each can be picked out of the picture.
    """
    picked = "".join(
        f"body:has(#pick-{n}:checked) .g>:not(.d{n}){{opacity:.13}}"
        for n in range(1, deployments + 1)
    )
    rules = (
        f":root{{color-scheme:light dark;{_LIGHT_GROUND}}}{_hues(_LIGHT, '#ffffff')}"
        f"@media screen and (prefers-color-scheme:dark)"
        f"{{:root{{{_DARK_GROUND}}}{_hues(_DARK, '#15181c')}}}"
        f"{_RULES}{picked}"
    )
    return element("style", rules)


def _hues(colours: tuple[str, ...], ground: str) -> str:
    return "".join(
        f".k{n}{{--a:{colour};--b:{_mixed(colour, ground, _FREE_OF_OFFLINE)};"
        f"--c:{_mixed(colour, ground, _FREE_OF_WORK)}}}"
        for n, colour in enumerate(colours)
    )


def _mixed(colour: str, ground: str, share: float) -> str:
    """So much of the way from a colour to the ground, both #rrggbb."""
    pairs = (
        (int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)
    )  # red, green, blue
    return "#" + "".join(f"{round(one + (other - one) * share):02x}" for one, other in pairs)
