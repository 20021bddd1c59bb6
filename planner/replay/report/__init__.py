"""The report of a replay: one HTML page, whole in itself.

Owns how a `planner.replay.document.ReplayDocument` reads. Refuses files, scripts, networks
and fonts of its own: markup, style and drawings are in the page, drawn before anyone opens
it. Invariants: equal documents give equal pages; every text that came from outside is
escaped; every drawing has a title, a sentence on how to read it, and its figures as a table.

Map:
    markup      elements and escaping
    wording     numbers, units and statistics as people read them
    style       colours and dashes of policies, the page's style
    scales      from values to places on a drawing; round ticks
    drawing     axes, lines, legends
    timeline    throughput over time against online load; offline progress
    latencies   TTFT and ITL, and their targets
    iterations  how long iterations lasted, and their budget
    tables      figures as tables
    sections    frame, sections, notes and settings of a page
    summary     what was simulated and what came of it, in words
    page        all of it in order
"""

from planner.replay.report.page import report_html

__all__ = ["report_html"]
