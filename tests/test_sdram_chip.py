"""The model of an SDRAM chip that judges the controller: it lets pass what is right, and nothing else."""

import dataclasses

import pytest

from acf.tb.sdram_chip import SHEETS, Pins, SdramChip, SdramError

PERIOD = 10.0  # ns, so that limits are easy to count
SHEET = SHEETS["MT48LC16M16A2-75"]  # tRCD 20, tRP 20, tRAS 44, tRC 66, tRFC 66, tWR 15, tRRD 15: 2, 2, 5, 7, 7, 2, 2

COMMANDS = {
    "nop": (1, 1, 1),
    "active": (0, 1, 1),
    "read": (1, 0, 1),
    "write": (1, 0, 0),
    "stop": (1, 1, 0),
    "precharge": (0, 1, 0),
    "refresh": (0, 0, 1),
    "mode": (0, 0, 0),
}
ALL = 1 << 10


class Script:
    """A chip, and commands for it."""

    def __init__(self, *, started=True, sheet=SHEET):
        self.chip = SdramChip([sheet], PERIOD)
        self.found: list[int | None] = []
        if started:
            self.chip.idle(10_000, cke=0)
            self.wait(2)
            self("precharge", address=ALL)
            self.refresh(2)
            self("mode", address=0x22)
            self.wait(1)

    def __call__(self, command, **pins):
        ras_n, cas_n, we_n = COMMANDS[command]
        self.found.append(self.chip.edge(Pins(ras_n=ras_n, cas_n=cas_n, we_n=we_n, **pins)))

    def wait(self, cycles, **pins):
        for _ in range(cycles):
            self("nop", **pins)

    def refresh(self, count):
        for _ in range(count):
            self.wait(6)
            self("refresh")
        self.wait(6)

    def open(self, *, bank=0, row=0):
        self("active", bank=bank, address=row)
        self.wait(1)

    def write(self, words, *, column=0, mask=0, bank=0):
        for n, word in enumerate(words):
            self("nop" if n else "write", bank=bank, address=0 if n else column, mask=mask, dq=word)


def test_words_come_back():
    script = Script()
    script.open(row=5)
    script.write([1, 2, 3, 4], column=8)
    script("read", address=9)
    begin = len(script.found) - 1
    script.wait(7)
    # CAS latency 2: driven behind the edge after the READ, valid at the next one. Bursts stay in their block.
    assert script.found[begin : begin + 6] == [None, 2, 3, 4, 1, None]


def test_bytes_are_masked():
    script = Script()
    script.open()
    script.write([0x1111] * 4)
    script.write([0x2222] * 4, mask=0b10)
    script("read")
    script("nop", mask=0b11)  # of the second word
    script.wait(4)
    assert script.found[-5:] == [0x1122, None, 0x1122, 0x1122, None]


def test_reads_follow_each_other():
    script = Script()
    script.open()
    script.write([1, 2, 3, 4])
    script.write([5, 6, 7, 8], column=4)
    script("read")
    script.wait(3)
    script("read", address=4)
    script.wait(6)
    assert script.found[-10:-2] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("first", "second", "least", "name"),
    [
        (("active", {}), ("read", {}), 2, "tRCD"),
        (("active", {}), ("precharge", {}), 5, "tRAS"),
        (("active", {}), ("active", {"bank": 1}), 2, "tRRD"),
        (("precharge", {"address": ALL}), ("active", {}), 2, "tRP"),
        (("precharge", {"address": ALL}), ("refresh", {}), 2, "tRP"),
        (("precharge", {"address": ALL}), ("mode", {"address": 0x22}), 2, "tRP"),
        (("refresh", {}), ("active", {}), 7, "tRFC"),
        (("refresh", {}), ("refresh", {}), 7, "tRFC"),
        (("mode", {"address": 0x22}), ("active", {}), 2, "tMRD"),
    ],
)
def test_distance_of_two_commands(first, second, least, name):
    for distance in (least, least - 1):
        script = Script()
        script(first[0], **first[1])
        script.wait(distance - 1)
        if distance == least:
            script(second[0], **second[1])
        else:
            with pytest.raises(SdramError, match=name):
                script(second[0], **second[1])


@pytest.mark.parametrize(("distance", "is_right"), [(7, True), (6, False)])
def test_row_cycle(distance, is_right):
    # With its own tRP it would be tRP that a row is opened too early for.
    script = Script(sheet=dataclasses.replace(SHEET, tRP=10))
    script.open()
    script.wait(3)
    script("precharge")
    script.wait(distance - 6)
    if is_right:
        script("active")
    else:
        with pytest.raises(SdramError, match="tRC"):
            script("active")


@pytest.mark.parametrize(("distance", "is_right"), [(2, True), (1, False)])
def test_write_recovery(distance, is_right):
    script = Script()
    script.open()
    script.wait(3)
    script.write([1, 2, 3, 4])
    script.wait(distance - 1)
    if is_right:
        script("precharge")
    else:
        with pytest.raises(SdramError, match="tWR"):
            script("precharge")


@pytest.mark.parametrize(
    ("commands", "sentence"),
    [
        ([("read", {})], "READ of bank 0, which is not open"),
        ([("active", {}), ("nop", {}), ("active", {})], "ACTIVE of bank 0, whose row 0 is open"),
        ([("active", {}), ("nop", {}), ("read", {"address": ALL})], "READ with address 0x400"),
        ([("active", {}), ("nop", {}), ("read", {}), ("read", {})], "READ of bank 0 only 1 cycles after a burst"),
        (
            [("active", {}), *[("nop", {})] * 3, ("read", {}), ("precharge", {})],
            "PRECHARGE of bank 0 only 1 cycles after a burst",
        ),
        ([("active", {}), *[("nop", {})] * 6, ("refresh", {})], "AUTO REFRESH while bank 0 is open"),
        ([("active", {}), *[("nop", {})] * 6, ("mode", {})], "LOAD MODE REGISTER while bank 0 is open"),
        ([("mode", {"address": 0x2A})], "mode 0x2a"),
        ([("mode", {"address": 0x42})], "mode 0x42 is reserved"),
        ([("stop", {})], "BURST TERMINATE is of no use here"),
        ([("nop", {"dq": 1})], "data without a WRITE"),
        ([("active", {}), ("nop", {}), ("write", {})], "no data for a WRITE"),
        ([("nop", {"cke": 0})], "clock enable went away"),
    ],
)
def test_what_is_forbidden(commands, sentence):
    script = Script()
    for command, pins in commands[:-1]:
        script(command, **pins)
    with pytest.raises(SdramError, match=sentence):
        script(commands[-1][0], **commands[-1][1])


@pytest.mark.parametrize(
    ("distance", "sentence"),
    [(4, "both sides drive"), (5, "both sides drive"), (6, "not left alone for a cycle"), (7, None)],
)
def test_data_pins_change_sides(distance, sentence):
    script = Script()
    script.open()
    script("read")
    script.wait(distance - 1)
    if sentence is None:
        script.write([1, 2, 3, 4])
    else:
        with pytest.raises(SdramError, match=sentence):
            script.write([1, 2, 3, 4])


def test_cycles_too_short_for_the_latency():
    chip = SdramChip([SHEET], 8.0)
    chip.idle(15_000, cke=1)
    script = Script(started=False)
    script.chip = chip
    script("precharge", address=ALL)
    for _ in range(2):
        script.wait(10)
        script("refresh")
    script.wait(10)
    with pytest.raises(SdramError, match=r"CAS latency 2 needs cycles of 10 ns, not 8\.0"):
        script("mode", address=0x22)


def test_row_open_for_too_long():
    script = Script()
    script.open()
    script.chip.late = 1e9
    script.wait(12_000)
    with pytest.raises(SdramError, match="was open for"):
        script("precharge")


def test_refreshes_are_due():
    script = Script()
    with pytest.raises(SdramError, match=r"0 refreshes where 2\.0 are due"):
        script.wait(1600)
    script = Script()
    for _ in range(10):  # one in 7.8 us
        script.wait(773)
        script("refresh")
    script.wait(100)


@pytest.mark.parametrize(
    ("commands", "sentence"),
    [
        (["idle 9000", "precharge"], "before 100000 ns from power are over"),
        (["off 10100", "precharge"], "with clock enable for 0 edges"),
        (["idle 10100", "refresh"], "AUTO REFRESH before PRECHARGE of all banks"),
        (["idle 10100", "precharge", "idle 6", "active"], "ACTIVE before the mode register was loaded"),
        (["idle 10100", "precharge", "idle 6", "refresh", "idle 6", "mode"], "loaded after 1 refreshes"),
    ],
)
def test_initialisation(commands, sentence):
    script = Script(started=False)

    def run(command):
        name, _, count = command.partition(" ")
        if name in ("idle", "off"):
            script.chip.idle(int(count), cke=int(name == "idle"))
        else:
            script(name, cke=int(commands[0].startswith("idle")), address=ALL if name == "precharge" else 0x22)

    for command in commands[:-1]:
        run(command)
    with pytest.raises(SdramError, match=sentence):
        run(commands[-1])
