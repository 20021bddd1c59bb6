"""What a reader of the report is told, and that the page is whole in itself."""

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from document_samples import BOUND, CEILING, FLOOR, policy_run, sample

from planner.replay.document import Workload
from planner.replay.report import report_html

SVG_TAGS = {"svg", "polyline", "polygon", "rect", "text", "g", "title", "desc"}
HOSTILE = "<script>alert('x')</script>&\"'</style>"


class Tags(HTMLParser):
    """Tags as they open and close, and the text between them."""

    def __init__(self):
        super().__init__()
        self.open, self.names, self.attributes, self.words = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.names.append(tag)
        self.attributes.extend(attrs)

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def read(page):
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == []
    return tags


def words_of(page):
    return " ".join("".join(read(page).words).split())


def tree(page):
    doctype, _, markup = page.partition("\n")
    assert doctype == "<!DOCTYPE html>"
    return ElementTree.fromstring(markup)


def variants():
    """Documents with this or that missing."""
    online, slacktide = (policy_run("online-only", "online only", **FLOOR),
                         policy_run("slacktide", "Slacktide"))  # fmt: skip
    return {
        "all": sample(),
        "with a bound": sample(bounds=(BOUND,)),
        "no slo": sample(targets=()),
        "floor alone": sample(runs=[online]),
        "ceiling alone": sample(runs=[policy_run("offline-only", "offline only", **CEILING)]),
        "one hybrid": sample(runs=[slacktide]),
        "nine policies": sample(runs=[policy_run(f"cap:{n}", f"cap {n}") for n in range(9)]),
        "no batch done": sample(runs=[online, policy_run("cap:1", "cap", offline_tokens_per_s=0)]),
    }


@pytest.mark.parametrize("name", variants())
def test_page_is_well_formed_whatever_is_missing(name):
    """As HTML and as XML: tags close in order, ids are used once."""
    page = report_html(variants()[name])
    read(page)
    ids = [element.get("id") for element in tree(page).iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_page_opens_nothing_outside_itself():
    """No script, no address, nothing to load."""
    page = report_html(sample())
    tags = read(page)
    assert not {"script", "link", "img", "iframe", "object", "a"} & set(tags.names)
    assert not {"src", "href", "srcset", "style"} & {name for name, _ in tags.attributes}
    assert not any(name.startswith("on") for name, _ in tags.attributes)
    assert not re.search(r"https?:|//\w|url\(|@import", page)


def test_what_comes_from_outside_is_escaped():
    """Names of files, policies and settings are shown, not obeyed."""
    document = sample(
        runs=[policy_run(HOSTILE, HOSTILE), policy_run("o", HOSTILE, **FLOOR)],
        workload=Workload(
            name=HOSTILE, is_generated=False, requests=1, duration_s=9.0,
            prompt_tokens=1, output_tokens=1,
        ),
        engine=HOSTILE,
        notes=(HOSTILE,),
        configuration={HOSTILE: {HOSTILE: HOSTILE}},
        version=HOSTILE,
    )  # fmt: skip
    page = report_html(document)
    assert "<script" not in page
    assert page.count("</style>") == 1
    assert words_of(page).count("<script>alert('x')</script>") > 10
    tree(page)


def test_every_drawing_can_be_read_without_seeing_it():
    """A role, a title, a description, a sentence on how to read it, a table of its figures."""
    root = tree(report_html(sample()))
    charts = [div for div in root.iter("div") if div.get("class") == "chart"]
    assert len(charts) == 6
    for chart in charts:
        figure = chart.find("figure")
        (svg,) = figure.findall("svg")
        named = svg.get("aria-labelledby").split()
        texts = {e.get("id"): e.text for e in svg if e.tag in ("title", "desc")}
        assert svg.get("role") == "img" and set(named) == set(texts) and all(texts.values())
        caption = "".join(figure.find("figcaption").itertext())
        assert caption.startswith("How to read this: ") and len(caption) > 60
        table = chart.find("details").find(".//table")
        assert len(table.findall("tbody/tr")) >= 3
        assert all(th.get("scope") == "col" for th in table.findall("thead/tr/th"))
    for svg in root.iter("svg"):
        assert {element.tag for element in svg.iter()} <= SVG_TAGS


def test_drawings_say_their_units():
    """Tokens per second, milliseconds, minutes or seconds, shares."""
    for figure in tree(report_html(sample())).iter("figure"):
        shown = "".join(figure.itertext())
        assert re.search(r"tokens|milliseconds", shown)


def test_policies_differ_by_dash_as_well_as_by_colour():
    """A colour alone tells nothing to some readers, nor in print."""
    root = tree(report_html(variants()["nine policies"]))
    (drawn,) = [f for f in root.iter("figure") if f.find("h3").get("id") == "ttft"]
    (svg,) = drawn.findall("svg")
    curves = [e for e in svg.iter("polyline") if "curve" in e.get("class")]
    assert len(curves) == 9
    assert len({e.get("class") for e in curves}) == 9
    assert len({e.get("stroke-dasharray") for e in curves}) == 9


def test_numbers_stay_on_the_drawing():
    """No mark is beyond the drawing's edges, whatever the figures."""
    for document in variants().values():
        for svg in tree(report_html(document)).iter("svg"):
            width, height = (float(part) for part in svg.get("viewBox").split()[2:])
            for element in svg.iter():
                for pair in (element.get("points") or "").split():
                    x, y = (float(part) for part in pair.split(","))
                    assert 0.0 <= x <= width and 0.0 <= y <= height


def test_first_paragraphs_say_what_was_simulated_and_what_came_of_it():
    """Requests, engine, the SLO with its tolerance, the best policy that kept it."""
    shown = words_of(report_html(sample()))
    assert "240 online requests" in shown and "llama2-7b on one a100-40gb" in shown
    assert "nothing was measured on hardware" in shown
    assert "99 % of the gaps between two tokens (ITL) are at most 66.0 ms" in shown
    assert "10 % above the 60.0 ms" in shown
    assert "Slacktide did the most offline work, 1.30 times that of HyGen" in shown
    assert re.search(r"Sarathi\+\+ [\d,]+ \(SLO missed\)", shown)


def test_policy_that_missed_the_slo_is_never_the_best():
    """Sarathi++ does the most offline work and misses: it is not named best."""
    shown = words_of(report_html(sample()))
    assert "Sarathi++ did the most" not in shown
    missed = sample(runs=[policy_run("blind-hybrid", "Sarathi++", itl_ms=90.0)])
    assert "No policy that ran offline work kept the SLO." in words_of(report_html(missed))


def test_table_shows_every_policy_and_verdict():
    """Each once, with its figures against floor and ceiling."""
    root = tree(report_html(sample()))
    (table,) = [
        t for t in root.iter("table")
        if t.find("caption") is not None and t.find("caption").text.startswith("All policies")
    ]  # fmt: skip
    heads = [th.text for th in table.findall("thead/tr/th")]
    assert {"× online only", "of offline only", "ITL p99", "TTFT mean"} <= set(heads)
    rows = {tr.find("th").text: ["".join(td.itertext()) for td in tr.findall("td")]
            for tr in table.findall("tbody/tr")}  # fmt: skip
    assert list(rows) == ["online only", "HyGen", "Slacktide", "Sarathi++", "offline only"]
    assert rows["Slacktide"][0] == "✓ kept" and rows["Sarathi++"][0] == "✗ missed"
    assert rows["offline only"][0] == "–"


def test_bound_is_a_line_of_the_table():
    """Below all policies, with one figure; the words say what share of it was done."""
    page = report_html(sample(bounds=(BOUND,)))
    (table,) = [
        t for t in tree(page).iter("table")
        if t.find("caption") is not None and t.find("caption").text.startswith("All policies")
    ]  # fmt: skip
    heads = [th.text for th in table.findall("thead/tr/th")]
    last = table.findall("tbody/tr")[-1]
    assert last.find("th").text == "bound beside Slacktide"
    cells = dict(zip(heads[1:], (td.text for td in last.findall("td")), strict=True))
    assert cells.pop("offline tokens/s") == "≤ 5,200"
    assert set(cells.values()) == {"–"}
    assert "policies did of theirs: Slacktide 50 %" in words_of(page)
    without = words_of(report_html(sample()))
    assert "bound beside" not in without and "of theirs" not in without


def test_iterations_are_held_against_budget_and_prediction():
    """How many exceeded it, and by how much predictions were off; nothing where none were."""
    shown = words_of(report_html(sample()))
    assert shown.count("with offline work 2 % over their budget; predictions off by 3 %") == 2
    assert "held to no budget" in shown and "latency budget 44.0 ms" in shown
    floor = words_of(report_html(variants()["floor alone"]))
    assert "over their budget" not in floor and "predictions off" not in floor


def test_settings_and_seeds_are_on_the_page():
    """All of the configuration, None said as none."""
    shown = words_of(report_html(sample()))
    assert re.search(r"seed\s*7", shown) and re.search(r"noise_ratio\s*0\.03", shown)
    assert re.search(r"max_requests\s*none", shown)


def test_words_are_explained():
    """TTFT, ITL, SLO, offline and budget, for who has never seen them."""
    terms = {dt.text for dt in tree(report_html(sample())).iter("dt")}
    for word in ("TTFT", "ITL", "SLO", "Budget"):
        assert word in terms
    assert any("Offline" in term or "offline" in term for term in terms)


def test_equal_documents_give_equal_pages():
    """Nothing of the day or the machine is on it."""
    assert report_html(sample()) == report_html(sample())


def test_document_without_runs_is_refused():
    """There is nothing to show."""
    with pytest.raises(ValueError, match="no run"):
        report_html(sample(runs=[]))
