"""The picture of a fleet in a real browser: laid out, picked from, in light and dark.

Measured by a script that only the test adds; the page itself has none.
"""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.fleetpage import fleet_html
from controlplane.cli.fleetpage_picture import BoxState
from tests.controlplane.cli.fleet_examples import example

BROWSER = next((p for name in ("chromium", "google-chrome") if (p := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome")

MEASURE = """
const inside = (a, b) => a.left >= b.left - 0.5 && a.right <= b.right + 0.5
  && a.top >= b.top - 0.5 && a.bottom <= b.bottom + 0.5;
const rect = e => e.getBoundingClientRect();
const tiles = [...document.querySelectorAll('.nodes>.h')];
const cells = tiles.flatMap(t => [...t.querySelectorAll('.g>*')]);
let overlaps = 0;
for (const tile of tiles) {
  const own = [...tile.querySelectorAll('.g>*')].map(rect).sort((a, b) => a.left - b.left);
  for (let i = 1; i < own.length; i++) if (own[i].left < own[i - 1].right - 0.5) overlaps++;
}
const faint = () => cells.filter(c => getComputedStyle(c).opacity === '0.13').length;
const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).map(v => v / 255).map(
  v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const contrast = e => { const s = getComputedStyle(e);
  const [a, b] = [light(s.color), light(s.backgroundColor)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05); };
const running = cells.filter(c => c.className.startsWith('r d'));
const before = faint();
document.getElementById('pick-1').checked = true;
const out = {
  tiles: tiles.length, cells: cells.length, overlaps,
  astray: cells.filter(c => !inside(rect(c), rect(c.closest('.h')))).length,
  narrow: Math.min(...cells.map(c => rect(c).width)),
  beyond: document.documentElement.scrollWidth - window.innerWidth,
  lines: Math.max(...tiles.map(t => new Set([...t.querySelectorAll('.g>*')].map(
    c => rect(c).top)).size)),
  tall: document.querySelector('.fleet').offsetHeight,
  before, faint: faint(), others: cells.filter(c => !c.classList.contains('d1')).length,
  contrast: Math.min(...running.map(contrast)), running: running.length,
  ground: getComputedStyle(document.documentElement).backgroundColor,
};
document.title = 'MEASURED' + JSON.stringify(out) + 'DONE';
"""


def measured(page: str, tmp_path: Path, *, width: int = 1440, dark: bool = False) -> dict[str, Any]:
    """What the browser made of the page."""
    assert BROWSER is not None
    path = tmp_path / "fleet.html"
    # Sections off the screen are not laid out; what is measured must be.
    every = "<style>section{content-visibility:visible!important}</style>"
    path.write_text(page.replace("</body>", f"{every}<script>{MEASURE}</script></body>"))
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900",
            *(["--force-dark-mode"] if dark else []), "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r"MEASURED(\{.*?\})DONE", done.stdout)
    assert found is not None, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(found[1].replace("&quot;", '"'))
    return answer


@pytest.mark.parametrize(("nodes", "narrowest_px"), [(200, 20), (1000, 12)])
def test_tiles_are_laid_out_when_the_fleet_is_large(
    tmp_path: Path, nodes: int, narrowest_px: int
) -> None:
    """Every box is inside its tile, none lies over another, and nothing leaves the page."""
    fleet = example(nodes=nodes, deployments=40, domains=16)
    found = measured(fleet_html(fleet), tmp_path)
    free = sum(len(host.device_types) - len(host.busy) for host in fleet.hosts)
    assert found["tiles"] == nodes
    assert found["cells"] == sum(1 for _ in fleet.boxes) + free
    assert (found["astray"], found["overlaps"]) == (0, 0)
    assert found["beyond"] <= 0
    assert found["narrow"] >= narrowest_px
    assert found["tall"] < 8 * 900  # eight screens


def test_boxes_share_a_line_unless_they_share_a_device(tmp_path: Path) -> None:
    """Devices apart are pieces of one line; what waits for a device stands below who holds it."""
    fleet = example(nodes=1, deployments=1)
    (host,) = fleet.hosts
    one = host.boxes[0]
    apart = replace(one, devices=(0, 2))
    between = replace(one, replica="r-between", devices=(1,))
    waiting = replace(one, replica="", devices=(1,), state=BoxState.PLANNED)
    for boxes, lines in (((apart, between), 1), ((apart, between, waiting), 2)):
        drawn = replace(fleet, hosts=(replace(host, boxes=boxes),))
        found = measured(fleet_html(drawn), tmp_path)
        assert (found["lines"], found["astray"]) == (lines, 0)


def test_page_fits_a_telephone(tmp_path: Path) -> None:
    """Tiles wrap; only tables may be scrolled sideways, in a frame of their own."""
    found = measured(fleet_html(example(nodes=12)), tmp_path, width=500)
    assert found["beyond"] <= 0
    assert found["astray"] == 0


def test_picking_a_deployment_makes_the_others_faint(tmp_path: Path) -> None:
    """Without any script: the key is radio buttons."""
    found = measured(fleet_html(example(nodes=30)), tmp_path)
    assert found["before"] == 0
    assert 0 < found["faint"] == found["others"] < found["cells"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_numbers_can_be_read_in_light_and_dark(tmp_path: Path, dark: bool) -> None:
    """The contrast of a running replica's number is at least WCAG 2.2's 4.5 : 1 (1.4.3)."""
    found = measured(fleet_html(example(nodes=40, deployments=18)), tmp_path, dark=dark)
    assert found["running"] > 50
    assert found["contrast"] >= 4.5
    assert found["ground"] == ("rgb(21, 24, 28)" if dark else "rgb(255, 255, 255)")
