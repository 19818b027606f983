"""One node of the network: a router with its way in and its way out."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from acf.config import NocConfig
from acf.hw.noc.ejector import Ejector
from acf.hw.noc.flit import flit_stream, link_signature
from acf.hw.noc.injector import Injector
from acf.hw.noc.router import Router
from acf.hw.noc.routing import Port, RoutingFunction, xy
from acf.isa import TrafficClass

__all__ = ["NetworkNode"]


class NetworkNode(wiring.Component):
    """Router, injector and ejector of one place in the mesh.

    The way out has a link for each virtual channel: entries come to a tile from the west and operands from the north,
    and neither has to wait for the other.

    Parameters
    ----------
    noc : NocConfig
    routing : RoutingFunction

    Members
    -------
    y, x : In(4)
        Where the node is; constant.
    north_i, east_i, south_i, west_i : In(link_signature)
    north_o, east_o, south_o, west_o : Out(link_signature)
    control_i, entries_i, operands_i, results_i : In(flit_stream)
        Packets of the block at this node, see ``Injector``.
    control_o, entries_o, operands_o, results_o : Out(flit_stream)
        Packets for the block at this node, see ``Ejector``.
    """

    def __init__(self, *, noc: NocConfig, routing: RoutingFunction = xy):
        self._noc = noc
        self._routing = routing
        link = link_signature(noc=noc)
        sides = [port.name.lower() for port in Port if port is not Port.LOCAL]
        self._sides = [f"{side}_i" for side in sides] + [f"{side}_o" for side in sides]
        super().__init__(
            {
                "y": In(4),
                "x": In(4),
                **{f"{side}_i": In(link) for side in sides},
                **{f"{side}_o": Out(link) for side in sides},
                **{f"{each.name.lower()}_i": In(flit_stream(noc=noc)) for each in TrafficClass},
                **{f"{each.name.lower()}_o": Out(flit_stream(noc=noc)) for each in TrafficClass},
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.router = router = Router(noc=self._noc, routing=self._routing, local_links=True)
        m.submodules.injector = injector = Injector(noc=self._noc)
        m.submodules.ejector = ejector = Ejector(noc=self._noc)

        m.d.comb += [router.y.eq(self.y), router.x.eq(self.x)]
        for side in self._sides:
            connect(m, flipped(getattr(self, side)), getattr(router, side))
        connect(m, injector.link, router.local_i)
        for outward, inward in zip(router.local_o, ejector.links, strict=True):
            connect(m, outward, inward)
        for traffic_class in TrafficClass:
            name = traffic_class.name.lower()
            connect(m, flipped(getattr(self, f"{name}_i")), getattr(injector, f"{name}_i"))
            connect(m, getattr(ejector, f"{name}_o"), flipped(getattr(self, f"{name}_o")))

        return m
