"""What the pages of reports have in common: their style, and cards with a picture."""

import html

__all__ = ["STYLE", "card"]

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #eef2f5; color: #1f2933; }
body { font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 48px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 18px; margin: 0 0 4px; }
p { margin: 0 0 12px; color: #4a5864; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 16px; margin: 24px 0; }
.fact, .card { background: white; border: 1px solid #dde3e8; border-radius: 10px; padding: 16px 20px; }
.fact b { display: block; font-size: 30px; line-height: 1.2; }
.fact span { color: #66737f; font-size: 14px; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(500px, 100%), 1fr)); gap: 16px; }
.wide { grid-column: 1 / -1; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; }
th { text-align: left; color: #66737f; font-weight: 600; font-size: 13px; }
td:nth-child(2), th:nth-child(2) { text-align: right; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid #e8edf0; vertical-align: top; }
td:nth-child(3), th:nth-child(3) { color: #66737f; padding-left: 12px; }
"""


def card(title: str, text: str, picture: str, *, wide: bool = False) -> str:
    """A heading, a sentence and a picture, which is markup already."""
    name = "card wide" if wide else "card"
    return f'<section class="{name}"><h2>{html.escape(title)}</h2><p>{html.escape(text)}</p>{picture}</section>\n'
