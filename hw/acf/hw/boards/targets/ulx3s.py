"""Radiona ULX3S: an ECP5 of 12 to 85 thousand LUTs, 25 MHz, and a USB adapter that is loader and serial port in one."""

from acf.hw.boards.board import Board, Pins
from acf.hw.boards.sdram_timing import ULX3S_SDRAM

__all__ = ["BOARD"]


class _Ulx3s(Board):
    name = "ulx3s"
    title = "Radiona ULX3S"
    variants = {"85F": "85k", "45F": "45k", "25F": "25k", "12F": "25k"}  # noqa: RUF012
    package = "CABGA381"
    speed = 6
    oscillator = 25_000_000
    clock = 60_000_000
    baud = 3_000_000
    preset = "ulx3s"
    block_bytes = 1 << 17
    sdram = ULX3S_SDRAM
    loader = ("--board", "ulx3s")

    def platform(self, variant):
        from amaranth_boards import ulx3s

        return getattr(ulx3s, f"ULX3S_{variant}_Platform")()

    def pins(self, platform):
        uart = platform.request("uart", dir=dict.fromkeys(("rx", "tx", "rts", "dtr"), "-"))
        lights = [platform.request("led", number, dir="-") for number in range(3)]
        return Pins(clock=platform.request("clk25", dir="-"), rx=uart.rx, tx=uart.tx, lights=lights)


BOARD = _Ulx3s()
