"""The counter bus: how every block's event counters are read without using the network.

The command processor drives ``select`` to all nodes; the node that is meant answers ``value``, every other node 0, so
that the answers are joined by OR. ``value`` follows ``select`` by at most ``COUNTER_LATENCY`` cycles.
"""

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["COUNTER_LATENCY", "counter_bus", "counter_select"]

COUNTER_LATENCY = 4
"""Cycles from a change of ``select`` at a node to the settled ``value`` at that node."""

counter_select = data.StructLayout({"index": 8, "x": 4, "y": 4})
"""Counter index and node, as in ``Register.COUNTER_SELECT``."""

counter_bus = wiring.Signature(
    {
        "enable": Out(1),
        "clear": Out(1),
        "select": Out(counter_select),
        "value": In(32),
    }
)
"""Counters and their reading, seen from the command processor.

Members
-------
enable : Out(1)
    Counters count in this cycle; high from the first fetch of a program to its END.
clear : Out(1)
    Counters are set to 0, in the cycle before ``enable`` rises.
select : Out(counter_select)
    The counter to read; stable while it is read.
value : In(32)
    The selected counter, 0 from nodes that are not selected.
"""
