"""Options that several commands share."""

from typing import Annotated

import typer

from acf.config import NUMBER_FORMATS, PRESETS, FabricConfig, preset

__all__ = ["FormatOption", "JsonOption", "PresetOption", "configuration"]

PresetOption = Annotated[str, typer.Option("--preset", help=f"Configuration: {', '.join(PRESETS)}.", metavar="NAME")]

FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help=f"Number format instead of the preset's own: {', '.join(NUMBER_FORMATS)}.",
        metavar="NAME",
        show_default=False,
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


def configuration(preset_name: str, format: str | None) -> FabricConfig:
    """The preset, in another number format if one is given.

    Raises
    ------
    ValueError
        If there is no such preset or format.
    """
    config = preset(preset_name)
    return config if format is None else config.with_format(format)
