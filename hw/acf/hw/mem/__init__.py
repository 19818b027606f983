"""Memory side of the fabric: feeders, their engines, interconnect and guard."""
