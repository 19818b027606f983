"""Draws docs/fabric.svg: the nodes of a preset's mesh and what flows between them.

python scripts/draw_fabric.py [PRESET]
"""

import sys
from pathlib import Path

from acf.config import FabricConfig, preset

TARGET = Path(__file__).resolve().parent.parent / "docs" / "fabric.svg"
PITCH, BOX, LEFT, TOP = 118, 78, 150, 96
COLOURS = {"CP": "#5b6b8c", "F": "#c98b2b", "T": "#2f7f79"}
FLOWS = {
    "entries": ("#2f7f79", "entries of W, to every tile of a row"),
    "operands": ("#c98b2b", "operands, to every tile of a column"),
    "results": ("#a8455c", "results"),
    "control": ("#5b6b8c", "commands and DONE"),
}


def node(x: int, y: int, kind: str, title: str, note: str) -> str:
    """One box with two lines of text."""
    left, top = LEFT + x * PITCH, TOP + y * PITCH
    return (
        f'<rect x="{left}" y="{top}" width="{BOX}" height="{BOX}" rx="9" fill="{COLOURS[kind]}"/>'
        f'<text x="{left + BOX / 2}" y="{top + 34}" class="title">{title}</text>'
        f'<text x="{left + BOX / 2}" y="{top + 54}" class="note">{note}</text>'
        f'<circle cx="{left + BOX}" cy="{top + BOX}" r="6" fill="#fff" stroke="#444" stroke-width="1.5"/>'
    )


def arrow(x1: float, y1: float, x2: float, y2: float, flow: str) -> str:
    """A coloured arrow."""
    colour, _ = FLOWS[flow]
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" class="flow" marker-end="url(#{flow})"/>'


def draw(config: FabricConfig) -> str:
    """The picture as SVG text."""
    boxes = [node(0, 0, "CP", "CP", "+ structure")]
    arrows = []
    for c in range(config.cols):
        boxes.append(node(c + 1, 0, "F", f"feeder {c}", "columns"))
        centre = LEFT + (c + 1) * PITCH + BOX / 2
        arrows.append(arrow(LEFT + c * PITCH + BOX, TOP + 26, LEFT + (c + 1) * PITCH - 4, TOP + 26, "control"))
        for r in range(config.rows):
            arrows.append(arrow(centre, TOP + r * PITCH + BOX, centre, TOP + (r + 1) * PITCH - 4, "operands"))
    for r in range(config.rows):
        boxes.append(node(0, r + 1, "F", f"feeder {r}", "rows"))
        top = TOP + (r + 1) * PITCH
        arrows.append(arrow(LEFT + 24, TOP + r * PITCH + BOX, LEFT + 24, top - 4, "control"))
        for c in range(config.cols):
            boxes.append(node(c + 1, r + 1, "T", f"tile {r},{c}", f"{config.lanes} lanes x {config.lane.slots}"))
            left = LEFT + c * PITCH + BOX
            arrows.append(arrow(left, top + 26, left + PITCH - BOX - 4, top + 26, "entries"))
            arrows.append(arrow(left + PITCH - BOX, top + 52, left + 4, top + 52, "results"))
    width, height = LEFT + (config.cols + 1) * PITCH, TOP + (config.rows + 1) * PITCH + 74
    memory = (
        f'<rect x="16" y="{TOP}" width="62" height="{config.rows * PITCH + BOX}" rx="9" fill="#e8e4da" stroke="#999"/>'
        f'<text x="47" y="{TOP + 40}" class="dark">memory</text>'
        f'<text x="47" y="{TOP + 58}" class="dark small">AXI4</text>'
        f'<text x="47" y="{TOP + 76}" class="dark small">{config.memory.beat_bytes} B/beat</text>'
        f'<path d="M78 {TOP + 39} H{LEFT}" class="bus"/>'
        + "".join(f'<path d="M78 {TOP + (r + 1) * PITCH + 39} H{LEFT}" class="bus"/>' for r in range(config.rows))
        + f'<path d="M47 {TOP} V{TOP - 26} H{LEFT + config.cols * PITCH + BOX / 2}" class="bus"/>'
        + "".join(
            f'<path d="M{LEFT + (c + 1) * PITCH + BOX / 2} {TOP - 26} V{TOP}" class="bus"/>' for c in range(config.cols)
        )
    )
    legend = "".join(
        f'<rect x="{LEFT + 265 * (n % 2)}" y="{height - 48 + 24 * (n // 2)}" width="16" height="10" fill="{colour}"/>'
        f'<text x="{LEFT + 24 + 265 * (n % 2)}" y="{height - 39 + 24 * (n // 2)}" class="legend">{text}</text>'
        for n, (colour, text) in enumerate(FLOWS.values())
    )
    markers = "".join(
        f'<marker id="{flow}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'
        for flow, (colour, _) in FLOWS.items()
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
        "<style>.title{fill:#fff;font-size:14px;font-weight:600;text-anchor:middle}.note{fill:#fff;font-size:11px;text-anchor:middle}"
        ".flow{stroke-width:3}.bus{stroke:#999;stroke-width:2;fill:none}.dark{fill:#333;font-size:14px;text-anchor:middle}"
        ".small{font-size:11px}.legend{fill:#333;font-size:13px}.head{fill:#222;font-size:17px;font-weight:600}</style>"
        f'<defs>{markers}</defs><rect width="{width}" height="{height}" fill="#fff"/>'
        f'<text x="16" y="34" class="head">ACF, preset {config.name}: {config.rows} x {config.cols} tiles, '
        f"{config.total_lanes} lanes. Every box has a router (white dot).</text>"
        f"{memory}{''.join(arrows)}{''.join(boxes)}{legend}</svg>\n"
    )


if __name__ == "__main__":
    TARGET.write_text(draw(preset(sys.argv[1] if len(sys.argv) > 1 else "base")))
    print(f"{TARGET.name} written")
