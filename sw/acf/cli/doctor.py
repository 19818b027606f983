"""``acf doctor``: which tools are there, and what is unavailable without those that are not."""

import json
import platform
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from acf.cli.options import JsonOption
from acf.sim.toolchain import find_tools

__all__ = ["doctor"]


def doctor(as_json: JsonOption = False) -> None:
    """Show every tool, its version, and what is unavailable without it."""
    tools = find_tools()
    if as_json:
        print(
            json.dumps(
                {
                    "python": platform.python_version(),
                    "machine": platform.platform(),
                    "tools": [{**asdict(tool), "available": tool.available} for tool in tools],
                },
                indent=2,
            )
        )
        return
    table = Table(title=f"Python {platform.python_version()} on {platform.platform()}", title_justify="left")
    table.add_column("tool")
    table.add_column("version")
    table.add_column("needed for")
    for tool in tools:
        if tool.available:
            table.add_row(tool.name, tool.version, tool.needed_for)
        else:
            table.add_row(tool.name, "[red]missing[/]", f"[red]unavailable:[/] {tool.needed_for} ({tool.remedy})")
    Console(highlight=False).print(table)
    missing = [tool.name for tool in tools if not tool.available]
    print(f"missing: {', '.join(missing)}" if missing else "everything is there")
