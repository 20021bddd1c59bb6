"""What the picture of a fleet shows, and that its page is whole in itself."""

import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.cli.fleetpage import fleet_html
from controlplane.cli.fleetpage_nodes import runs
from controlplane.cli.fleetpage_picture import (
    Box,
    BoxState,
    Host,
    Mark,
    Picture,
    Row,
    clusters,
    natural,
)
from tests.controlplane.cli.fleet_examples import example, plan_facts

HOSTILE = "<script>alert('x')</script>&\"'</style>"


def tree(page: str) -> ElementTree.Element:
    doctype, _, markup = page.partition("\n")
    assert doctype == "<!DOCTYPE html>"
    return ElementTree.fromstring(markup)


def classed(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [one for one in root.iter() if name in (one.get("class") or "").split()]


def table_rows(root: ElementTree.Element, caption: str) -> list[list[str]]:
    (found,) = [
        table
        for table in root.iter("table")
        if (head := table.find("caption")) is not None and (head.text or "").startswith(caption)
    ]
    return [["".join(cell.itertext()) for cell in row] for row in found.findall("tbody/tr")]


def box(**fields: object) -> Box:
    values: dict[str, object] = {
        "replica": "r-1", "deployment": "chat", "number": 1, "state": BoxState.RUNNING,
        "devices": (0,), "online_share": 1.0, "offline_work": 0.0, "budget_ms": 40.0,
    }  # fmt: skip
    return Box(**{**values, **fields})  # type: ignore[arg-type]


def host(*boxes: Box, **fields: object) -> Host:
    values: dict[str, object] = {
        "id": "n1", "domain": "n1", "group": "", "device_types": ("cpu", "cpu"), "boxes": boxes,
    }  # fmt: skip
    return Host(**{**values, **fields})  # type: ignore[arg-type]


def picture(*hosts: Host, **fields: object) -> Picture:
    row = Row(number=1, id="chat", model="tiny", stage="active", wanted=(1, 2))
    values: dict[str, object] = {
        "drawn": "2026-11-23T13:00:00Z", "revision": 7, "hosts": hosts, "rows": (row,),
        "plan": plan_facts(),
    }  # fmt: skip
    return Picture(**{**values, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "drawn",
    [
        example(nodes=0, deployments=0),
        example(nodes=1, deployments=1, domains=0),
        example(nodes=40, deployments=15),
        replace(example(nodes=3), plan=None),
        picture(host(device_types=())),
    ],
    ids=["empty", "one node", "forty nodes", "no plan", "no device"],
)
def test_page_is_well_formed_when_parts_are_missing(drawn: Picture) -> None:
    """It is XML, and ids are used once, whatever the fleet lacks."""
    root = tree(fleet_html(drawn))
    ids = [one.get("id") for one in root.iter() if one.get("id")]
    assert len(ids) == len(set(ids))


def test_page_opens_nothing_when_it_is_shown() -> None:
    """No script, no address, nothing to load: one file is all."""
    page = fleet_html(example(nodes=30))
    root = tree(page)
    tags = {one.tag for one in root.iter()}
    assert not {"script", "link", "img", "iframe", "object", "a", "form"} & tags
    names = {name for one in root.iter() for name in one.attrib}
    assert not {"src", "href", "srcset", "action"} & names
    assert not any(name.startswith("on") for name in names)
    assert not re.search(r"https?:|//\w|url\(|@import", page)


def test_page_shows_and_does_not_obey_when_words_are_hostile() -> None:
    """Whatever users and agents write is text: ids, reasons, messages, models, terms."""
    hostile = host(
        box(replica=HOSTILE, deployment=HOSTILE, note=HOSTILE),
        id=HOSTILE, domain=HOSTILE, group=HOSTILE, device_types=(HOSTILE, HOSTILE),
        marks=(Mark.CORDONED,), reason=HOSTILE, pins=((HOSTILE, 1),),
    )  # fmt: skip
    facts = plan_facts()
    page = fleet_html(
        picture(
            hostile,
            rows=(
                Row(
                    number=1, id=HOSTILE, model=HOSTILE, stage=HOSTILE, wanted=(1, 1),
                    misfits=(HOSTILE,),
                ),
            ),
            plan=replace(
                facts, name=HOSTILE, status=HOSTILE, solver=HOSTILE, misfits=(HOSTILE,),
                moves=(HOSTILE,), trigger=HOSTILE, made=HOSTILE, took=HOSTILE,
                terms=(replace(facts.terms[0], name=HOSTILE),),
            ),
            notes=(HOSTILE,), drawn=HOSTILE,
        )
    )  # fmt: skip
    root = tree(page)
    assert not any(one.tag == "script" for one in root.iter())
    assert page.count("</style>") == 1
    shown = "".join(root.itertext()) + "".join(
        v for one in root.iter() for v in one.attrib.values()
    )
    assert shown.count("<script>alert('x')</script>") > 20


@settings(max_examples=60, deadline=None)
@given(words=st.text(max_size=40))
def test_page_is_well_formed_whatever_an_agent_says(words: str) -> None:
    """Any text, control characters included, in every place where words come from outside."""
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in words):
        return  # not text that a message can carry
    page = fleet_html(picture(host(box(note=words), reason=words, group=words), notes=(words,)))
    tree(page)


def test_page_draws_every_replica_once_over_its_devices() -> None:
    """One box a replica, across exactly its devices; what is left is free."""
    drawn = example(nodes=25)
    root = tree(fleet_html(drawn))
    tiles = {
        tile.findtext("p/b"): tile for tile in classed(root, "h") if tile.find("p") is not None
    }
    assert set(tiles) == {one.id for one in drawn.hosts}
    for one in drawn.hosts:
        cells = [
            cell for cell in tiles[one.id].iter() if "grid-column" in (cell.get("style") or "")
        ]
        spans = [
            re.match(r"grid-column:(\d+)/(\d+)", cell.get("style") or "")
            for cell in cells
            if cell.tag == "span"
        ]
        covered = [set(range(int(m[1]) - 1, int(m[2]) - 1)) for m in spans if m]
        assert covered == [set(b.devices) for b in one.boxes]
        assert sum(cell.tag == "i" for cell in cells) == len(one.device_types) - len(one.busy)


def test_page_tells_all_in_tables_when_the_tiles_are_not_seen() -> None:
    """Each node has its row, each replica its words there, and the tiles say that they are one."""
    drawn = example(nodes=25)
    root = tree(fleet_html(drawn))
    rows = {row[0]: row for row in table_rows(root, "Nodes and their replicas")}
    for one in drawn.hosts:
        row = rows[one.id]
        assert [mark.value for mark in one.marks] == [
            w for w in row[3].split(";")[0].split(", ") if w
        ]
        assert row[5] == f"{len(one.busy)} of {len(one.device_types)}"
        for replica in one.boxes:
            assert f"{replica.deployment} {replica.replica} on" in row[4]
    images = [one for one in root.iter() if one.get("role") == "img"]
    assert images and all("table" in (one.get("aria-label") or "") for one in images)
    for table in root.iter("table"):
        assert all(head.get("scope") == "col" for head in table.findall("thead/tr/th"))


def test_page_shows_headroom_when_the_frontier_is_known() -> None:
    """The gauge is online, then offline, and what is left; no guess where it is not known."""
    known = box(online_ratio=0.5, offline_ratio=0.3)
    unknown = box(replica="r-2", devices=(1,))
    root = tree(fleet_html(picture(host(known, unknown))))
    first, second = [one for one in classed(root, "r") if "d1" in (one.get("class") or "")]
    assert "--x:50%;--y:80%" in (first.get("style") or "")
    assert "headroom 20 %" in (first.get("title") or "")
    assert "--x" not in (second.get("style") or "")
    assert "unknown" in (second.get("class") or "") and "headroom" not in (
        second.get("title") or ""
    )
    row = table_rows(root, "Deployments:")[0]
    assert row[-1] == "20 %"


@given(
    online=st.floats(0.0, 3.0, allow_nan=False), offline=st.floats(0.0, 3.0, allow_nan=False)
)  # fmt: skip
def test_gauge_never_leaves_its_box_when_a_replica_bears_too_much(
    online: float, offline: float
) -> None:
    """A point beyond the frontier fills the box and has no headroom."""
    one = box(online_ratio=online, offline_ratio=offline)
    room = one.headroom
    assert room is not None and 0.0 <= room <= 1.0
    assert room == pytest.approx(max(0.0, 1.0 - online - offline))
    root = tree(fleet_html(picture(host(one))))
    (drawn,) = [found for found in classed(root, "r") if "d1" in (found.get("class") or "")]
    match = re.search(r"--x:(\d+)%;--y:(\d+)%", drawn.get("style") or "")
    assert match and 0 <= int(match[1]) <= int(match[2]) <= 100


def test_page_says_what_is_wrong_first() -> None:
    """Freezes, marks, failed replicas, deployments below their least, and misfits lead."""
    drawn = picture(
        host(box(state=BoxState.FAILED), marks=(Mark.DRAINING,)),
        notes=("frozen: the whole fleet: exam week",),
    )
    (note,) = classed(tree(fleet_html(drawn)), "notes")
    words = "".join(note.itertext())
    for said in (
        "exam week", "nodes: 1 draining", "replicas: 1 failed", "1 deployment below min_replicas:"
        " chat", "2 misfits",
    ):  # fmt: skip
        assert said in words
    quiet = picture(host(box()), plan=plan_facts(misfits=0))
    assert not classed(tree(fleet_html(quiet)), "notes")


def test_page_shows_the_plan_with_its_terms_bound_and_gap() -> None:
    """The terms' products sum to the objective that the sentence gives."""
    root = tree(fleet_html(picture(host(box()))))
    words = "".join(root.itertext())
    facts = plan_facts()
    assert "objective -2,369, proven bound -2,381, gap 0.51%" in words
    rows = table_rows(root, "What the plan minimises")
    assert rows[-1] == ["sum", "", "", "-2,369"]
    assert [row[0] for row in rows[:-1]] == [t.name for t in facts.terms if t.value]
    assert "Terms that are 0: drops." in words
    assert all(misfit in words for misfit in facts.misfits)
    assert all(move in words for move in facts.moves)


def test_clusters_are_by_domain_then_group_and_lone_nodes_share_a_heading() -> None:
    """A node that is its own failure domain tells nothing by a heading of its own."""
    found = clusters(
        [
            host(id="n10", domain="n10"), host(id="n2", domain="n2"),
            host(id="a", domain="rack-10"), host(id="b", domain="rack-2", group="gpu"),
            host(id="c", domain="rack-2"),
        ]
    )  # fmt: skip
    assert [(one.domain, one.group, [h.id for h in one.hosts]) for one in found] == [
        ("", "", ["n2", "n10"]),
        ("rack-2", "", ["c"]),
        ("rack-2", "gpu", ["b"]),
        ("rack-10", "", ["a"]),
    ]


@given(st.lists(st.text(alphabet="n-0123456789", max_size=6)))
def test_natural_orders_any_names(names: list[str]) -> None:
    """The key compares all names, equal ones alike, and numbers by size."""
    ordered = sorted(names, key=natural)
    assert sorted(ordered) == sorted(names)
    assert natural("n2") < natural("n10") < natural("na")


@given(st.sets(st.integers(0, 63)))
def test_runs_cover_exactly_the_devices(devices: set[int]) -> None:
    """Neighbours are one run; no run touches the next."""
    found = runs(devices)
    assert {n for first, last in found for n in range(first, last + 1)} == devices
    assert all(after[0] > before[1] + 1 for before, after in itertools.pairwise(found))


def test_page_of_a_thousand_nodes_stays_small_enough_to_mail() -> None:
    """Eight thousand devices and all their words in less than 4 MiB."""
    page = fleet_html(example(nodes=1000, deployments=60, domains=20))
    assert len(page.encode()) < 4 << 20
