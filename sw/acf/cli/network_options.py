"""The options that describe a network alone, shared by all commands that take one."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, get_type_hints

import typer

from acf.config import CHANNEL_RULES, ROUTINGS, TABLE, TOPOLOGIES, TRAFFIC_CLASSES, ClassPolicy, NetworkConfig

__all__ = ["MeshOption", "NetworkOptions", "policies_of", "takes_network_options"]

MeshOption = Annotated[
    str | None,
    typer.Option(
        "--mesh",
        help="With the blocks noc and router: of a network alone of so many nodes, height x width.",
        metavar="HxW",
        show_default=False,
    ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """What the options of a network said; None for those that were not given. The fields are the options."""

    topology: Annotated[
        str | None,
        typer.Option("--topology", help=f"{' or '.join(TOPOLOGIES)}; mesh if none is given.", metavar="NAME"),
    ] = None
    routing: Annotated[
        str | None,
        typer.Option(
            "--routing",
            help=f"{', '.join(ROUTINGS)}; xy if none is given. Several of them, and {TABLE}, by class: commas between "
            "those that share virtual channels, slashes between those that do not.",
            metavar="NAME",
        ),
    ] = None
    channels: Annotated[
        str | None,
        typer.Option(
            "--channels",
            help=f"How virtual channels are chosen: {', '.join(CHANNEL_RULES)}; onward, or free where packets choose.",
            metavar="NAME",
        ),
    ] = None
    rounds: Annotated[
        int | None, typer.Option("--rounds", help="Rounds of allocation in a cycle; 2, or 1 for kept channels.")
    ] = None
    stages: Annotated[
        int | None, typer.Option("--stages", help="Cycles of a router besides that of its link, 1 or 2; 1.")
    ] = None
    virtual_channels: Annotated[int | None, typer.Option("--vcs", help="Virtual channels of a link; 2.")] = None
    depth: Annotated[int | None, typer.Option("--depth", help="Flits of a virtual channel; 8.")] = None
    by_class: Annotated[
        bool | None,
        typer.Option(
            "--by-class",
            help="Inputs say for each traffic class how it is routed, in which virtual channels, and what goes first.",
        ),
    ] = None
    statistics: Annotated[
        bool | None, typer.Option("--statistics", help="Routers count flits, stalls and occupied places.")
    ] = None
    groups: Annotated[
        int | None,
        typer.Option("--groups", help="Groups of receivers that tables in the routers hold; none if none are given."),
    ] = None
    group_channels: Annotated[
        int | None, typer.Option("--group-vcs", help="Virtual channels for groups, beside the others; 1.")
    ] = None

    def configuration(self, mesh: str) -> NetworkConfig:
        """A network alone, whose size is written as ``4x4``, height and width.

        Raises
        ------
        ValueError
            If a value is out of its range, or the mesh is written otherwise.
        """
        height, cross, width = mesh.partition("x")
        if not (cross and height.isdecimal() and width.isdecimal()):
            raise ValueError(f"a mesh must be written as 4x4, height and width, not {mesh!r}")
        routing = "xy" if self.routing is None else self.routing
        channels = self.channels
        by_class = bool(self.by_class) or routing == TABLE or not {*routing}.isdisjoint(",/")
        if channels is None and by_class:
            channels = "free"
        if channels is None:
            channels = "onward" if routing in ("xy", "yx") else "free"
        rounds = self.rounds
        if rounds is None:
            rounds = 1 if channels == "kept" else 2
        return NetworkConfig(
            height=int(height),
            width=int(width),
            virtual_channels=2 if self.virtual_channels is None else self.virtual_channels,
            buffer_depth=8 if self.depth is None else self.depth,
            routing=routing,
            channels=channels,
            rounds=rounds,
            stages=1 if self.stages is None else self.stages,
            topology="mesh" if self.topology is None else self.topology,
            by_class=by_class,
            statistics=bool(self.statistics),
            groups=self.groups or 0,
            group_channels=1 if self.group_channels is None else self.group_channels,
        )

    def check_none_given(self) -> None:
        """Refuse options that mean nothing where there is no network alone.

        Raises
        ------
        ValueError
            If one was given.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                names = {"virtual_channels": "vcs", "group_channels": "group-vcs"}
                name = names.get(field.name, field.name.replace("_", "-"))
                given = f"--{name}" if value is True else f"--{name} {value}"
                raise ValueError(f"{given} means nothing without --mesh")


def policies_of(network: NetworkConfig, texts: list[str]) -> tuple[ClassPolicy, ...]:
    """The policies of a network by class, as its options say; those of other classes are the default ones.

    Parameters
    ----------
    network : NetworkConfig
    texts : list of str
        ``CLASS=FUNCTION``, ``CLASS=FUNCTION:0,1`` with virtual channels, and ``:urgent`` behind either.

    Raises
    ------
    ValueError
        If one is written otherwise, or packets could wait for ever.
    """
    policies = list(network.default_policies)
    for text in texts:
        number, equals, rest = text.partition("=")
        function, *more = rest.split(":")
        is_urgent = more[-1:] == ["urgent"]
        numbers = more[: len(more) - is_urgent]
        listed = [channel for part in numbers for channel in part.split(",")]
        if not (
            equals
            and number.isdecimal()
            and int(number) < TRAFFIC_CLASSES
            and len(numbers) <= 1
            and all(channel.isdecimal() for channel in listed)
        ):
            raise ValueError(f"a class must be written as 0=xy, 0=xy:0,1 or 0=xy:0,1:urgent, not {text!r}")
        channels = tuple(int(channel) for channel in listed) if numbers else network.channel_sets.get(function, ())
        policies[int(number)] = ClassPolicy(function=function, channels=channels, is_urgent=is_urgent)
    network.check_policies(policies)
    return tuple(policies)


def takes_network_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of its parameter ``network``, in the place of that parameter."""
    hints = get_type_hints(command, include_extras=True)
    options = get_type_hints(NetworkOptions, include_extras=True)
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name == "network":
            parameters += [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
                for name, annotation in options.items()
            ]
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name]))

    @functools.wraps(command)
    def with_options(**given) -> None:
        network = NetworkOptions(**{name: given.pop(name) for name in options})
        command(**given, network=network)

    # Typer reads both.
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options
