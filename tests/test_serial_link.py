"""The serial link: frames by themselves, and the host's end against the board's end in RTL."""

import random
import struct
import zlib

import pytest

from acf.link import ADDRESS_WRITE, MAX_DATA, MAX_PAYLOAD, Kind, Status
from acf.runtime.serial_link import Access, Frame, FrameParser, LinkError, RefusedError, SerialLink, encode_frame
from acf.sim.board import BoardLine, SimulatedBoard
from acf.tb.faulty_line import FaultyLine
from acf.tb.link_board import CYCLES_PER_BIT, MEMORY_BYTES, REGISTERS, TOUCHED, link_board_verilog

PATIENCE = 2e-4  # of simulated time
FLAG = b"\x7e"


@pytest.fixture(scope="module")
def verilog():
    return link_board_verilog("link_board")


@pytest.fixture
def board(verilog):
    board = SimulatedBoard(verilog, top="link_board", cycles_per_bit=CYCLES_PER_BIT, quiet=True)
    yield board
    board.close()


@pytest.fixture
def line(board):
    return BoardLine(board, cycles_per_bit=CYCLES_PER_BIT)


@pytest.fixture
def link(line):
    # The board says that its clock is not in real time, so 1/100 of what it gets.
    return SerialLink(line, patience=PATIENCE / 100, seed=1, tries=50)


def exchange(line, data, *, seconds=5e-4):
    """Bytes to the board, and the frames that it sends for them."""
    line.write(data)
    parser, frames = FrameParser(), []
    end = line.now() + len(data) * 10 / line.baud + seconds
    while line.now() < end:
        frames += parser.feed(line.read(end - line.now()))
    return frames


# Frames


def test_frame_byte_by_byte():
    body = bytes((0x03, 0x78, 0x56, 0x34, 0x12, 0x06, 0x00)) + bytes((0x7E, 0x7D, 0x00, 0x00, 0x10, 0x00))
    crc = struct.pack("<I", zlib.crc32(body))
    escaped = (body + crc).replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e")
    frame = Frame(Kind.READ, 0x12345678, body[7:])
    assert encode_frame(frame) == FLAG + escaped + FLAG
    assert FrameParser().feed(FLAG + escaped + FLAG) == [frame]


@pytest.mark.parametrize("size", [0, 1, 7, 256, MAX_PAYLOAD])
def test_frames_survive_any_cut(size):
    rng = random.Random(size)
    special = (0x7E, 0x7D, 0x5E, 0x20, 0)
    frames = [Frame(n, rng.getrandbits(32), bytes(rng.choices(special, k=size))) for n in range(4)]
    data = b"noise" + b"".join(encode_frame(frame) for frame in frames)
    parser, found = FrameParser(), []
    while data:
        cut = rng.randrange(1, 20)
        found += parser.feed(data[:cut])
        data = data[cut:]
    assert found == frames


def test_frames_share_a_flag():
    frames = [Frame(1, 5, b"ab"), Frame(2, 6, b"")]
    assert FrameParser().feed(encode_frame(frames[0]) + encode_frame(frames[1])[1:]) == frames


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        struct.pack("<BIH", 1, 1, 3) + b"ab",  # wrong length
        struct.pack("<BIH", 1, 1, 2) + b"ab\x7d",  # ends in an escape
    ],
)
def test_no_frame_is_found_in(data):
    assert FrameParser().feed(FLAG + data + struct.pack("<I", zlib.crc32(data)) + FLAG) == []
    assert FrameParser().feed(FLAG + data + FLAG) == []


# The board's end


def test_greeting(link):
    greeting = link.greeting
    assert (greeting.version, greeting.max_data, greeting.memory_bytes, greeting.clock) == (
        1,
        MAX_DATA,
        MEMORY_BYTES,
        0,
    )
    assert link.repeats == 0


def test_registers(link):
    values = [0x7E7D7E7D, 0, 0xFFFFFFFF, 0x12345678]
    writes = [Access(4 * n, value) for n, value in enumerate(values)]
    reads = [Access(4 * n) for n in range(4)]
    assert link.access(writes + reads) == values + values
    assert link.access([Access(TOUCHED)]) == [4]
    assert link.access([]) == []
    many = [Access(4 * (n % REGISTERS), n) for n in range(500)]
    assert link.access(many) == list(range(500))
    assert link.access([Access(4), Access(TOUCHED)]) == [497, 504]


def test_refused_register_stops_the_request(link):
    accesses = [Access(0, 7), Access(4 * REGISTERS + 4, 8), Access(4, 9)]
    with pytest.raises(RefusedError, match=r"refused a write of 0x8 of the register at 0x024"):
        link.access(accesses)
    with pytest.raises(RefusedError, match=r"refused a read of the register at 0x1000"):
        link.access([Access(0x1000)])
    assert link.access([Access(0), Access(4), Access(TOUCHED)]) == [7, 0, 1]
    assert link.repeats == 0


@pytest.mark.parametrize("address", [0, 1, 7, 1000])
@pytest.mark.parametrize("size", [0, 1, 9, MAX_DATA, MAX_DATA + 3])
def test_memory(link, address, size):
    data = random.Random(size).randbytes(size)
    link.fill(0, MEMORY_BYTES, 0x7D)
    link.write(address, data)
    assert link.read(address, size) == data
    assert link.read(0, MEMORY_BYTES) == b"\x7d" * address + data + b"\x7d" * (MEMORY_BYTES - address - size)


def test_memory_ends(link):
    link.fill(0, MEMORY_BYTES, 1)
    for access in (
        lambda: link.read(MEMORY_BYTES - 2, 4),
        lambda: link.write(MEMORY_BYTES - 2, b"abcd"),
        lambda: link.fill(0xFFFFFFFF, 1, 2),
    ):
        with pytest.raises(RefusedError, match=f"only {MEMORY_BYTES} bytes"):
            access()
    assert link.read(MEMORY_BYTES - 3, 3) == b"\x01ab"


def test_repeated_request_is_carried_out_once(line, link):
    first = link.access([Access(TOUCHED)])[0]
    link.connect()
    sequence = link._sequence
    write = encode_frame(Frame(Kind.REGISTERS, sequence + 1, struct.pack("<HI", ADDRESS_WRITE, 3)))
    answers = [exchange(line, write) for _ in range(3)]
    expected = Frame(Kind.REGISTERS | 0x80, sequence + 1, bytes((Status.OKAY,)) + struct.pack("<I", 3))
    assert answers == [[expected]] * 3
    link.connect()
    assert link.access([Access(TOUCHED)]) == [first + 1]


@pytest.mark.parametrize(
    ("kind", "payload", "status"),
    [
        (Kind.REGISTERS, b"12345", Status.MALFORMED),
        (Kind.REGISTERS, struct.pack("<HI", 0, 0) + b"1", Status.MALFORMED),
        (Kind.READ, struct.pack("<IH", 0, 1) + b"1", Status.MALFORMED),
        (Kind.READ, struct.pack("<IH", 0, MAX_DATA + 1), Status.MALFORMED),
        (Kind.READ, b"", Status.MALFORMED),
        (Kind.WRITE, struct.pack("<IH", 0, 2) + b"1", Status.MALFORMED),
        (Kind.WRITE, struct.pack("<IH", 0, 1) + b"12", Status.MALFORMED),
        (Kind.FILL, struct.pack("<IH", 0, 2), Status.MALFORMED),
        (Kind.FILL, struct.pack("<IH", 0, 2) + b"12", Status.MALFORMED),
        (99, struct.pack("<IH", 0, 1), Status.MALFORMED),
        (0, b"", Status.MALFORMED),
        (Kind.READ, struct.pack("<IH", MEMORY_BYTES, 1), Status.REFUSED),
    ],
)
def test_malformed_requests_are_answered(line, link, kind, payload, status):
    link.fill(0, 8, 0xAA)
    (answer,) = exchange(line, encode_frame(Frame(kind, link._sequence + 1, payload)))
    assert (answer.kind, answer.sequence) == (kind | 0x80, link._sequence + 1)
    assert answer.payload[0] == status
    link.connect()
    assert link.read(0, 8) == b"\xaa" * 8
    assert link.access([Access(TOUCHED)]) == [0]


def test_wrong_sequence_number_closes_the_session(line, link):
    request = struct.pack("<HI", ADDRESS_WRITE, 3)
    (answer,) = exchange(line, encode_frame(Frame(Kind.REGISTERS, link._sequence + 2, request)))
    assert answer.payload == bytes((Status.SESSION,))
    with pytest.raises(LinkError, match="forgotten this session"):
        link.access([Access(0)])
    assert link.access([Access(0), Access(TOUCHED)]) == [0, 0]  # in a new one


def test_sequence_numbers_wrap(line, link):
    link._random.getrandbits = lambda bits: (1 << bits) - 2
    link.connect()
    assert [link.access([Access(0, n)]) for n in range(4)] == [[n] for n in range(4)]
    assert link._sequence == 2


@pytest.mark.parametrize("noise", [b"", b"\x7e", b"\x7d", b"\x7e\x7d", b"\x7e\x02\x00", b"\xff\x00" * 100])
def test_frames_are_found_behind_noise(line, link, noise):
    line.write(noise)
    link.access([Access(4, 5)])
    assert link.access([Access(4), Access(TOUCHED)]) == [5, 1]
    assert link.repeats <= 4  # while the noise is on its way


def test_damaged_frame_is_not_answered(line, link):
    frame = encode_frame(Frame(Kind.REGISTERS, link._sequence + 1, struct.pack("<HI", ADDRESS_WRITE, 3)))
    rng = random.Random(1)
    for at in range(1, len(frame) - 1):
        changed = frame[at] ^ 1 << rng.randrange(8)
        assert exchange(line, frame[:at] + bytes((changed,)) + frame[at + 1 :]) == []
        assert exchange(line, frame[:at] + frame[at + 1 :]) == []
    assert link.access([Access(TOUCHED)]) == [0]


def test_longest_frame_and_one_byte_more(line, link):
    request = struct.pack("<IH", 0, MAX_DATA) + bytes(MAX_DATA)
    (answer,) = exchange(line, encode_frame(Frame(Kind.WRITE, link._sequence + 1, request)), seconds=2e-3)
    assert answer.payload == bytes((Status.OKAY,))
    too_long = encode_frame(Frame(Kind.WRITE, link._sequence + 2, request + b"1"))
    assert exchange(line, too_long, seconds=2e-3) == []


def test_silent_board_is_given_up(board):
    class Cut(BoardLine):
        name = "a cut line"

        def write(self, data):
            pass

    with pytest.raises(LinkError, match=r"no board answers at a cut line \(HELLO, sent 3 times\)"):
        SerialLink(Cut(board, cycles_per_bit=CYCLES_PER_BIT), patience=PATIENCE, tries=3)


def test_other_version_is_refused():
    class Other:
        name, baud, time = "another board", 3_000_000, 0.0

        def now(self):
            self.time += 1e-3
            return self.time

        def write(self, data):
            (hello,) = FrameParser().feed(data)
            self.answer = encode_frame(Frame(Kind.HELLO | 0x80, hello.sequence, bytes((0, 9)) + bytes(10)))

        def read(self, seconds):
            return self.answer

        def close(self):
            pass

    with pytest.raises(LinkError, match="speaks version 9 of the link, not 1"):
        SerialLink(Other())


# Faults


def run_faults(line, *, seed, faults):
    """Random transfers over a line that spoils bytes, until so many were spoilt; what came of them."""
    rng = random.Random(seed)
    faulty = FaultyLine(line, seed=seed)
    link = SerialLink(faulty, patience=PATIENCE / 100, seed=seed, tries=6)
    memory = bytearray(MEMORY_BYTES)
    link.fill(0, MEMORY_BYTES, 0)
    registers = [0] * REGISTERS
    touched = 0
    done = failed = 0

    def settle():
        """After an error nobody knows whether it was done: ask over a line without faults."""
        nonlocal memory, touched
        faulty.rate = 0
        registers[:] = link.access([Access(4 * n) for n in range(REGISTERS)])
        (touched,) = link.access([Access(TOUCHED)])
        memory = bytearray(link.read(0, MEMORY_BYTES))

    while sum(faulty.faults.values()) < faults:
        faulty.rate = rng.choice((0.001, 0.003, 0.01, 0.02, 0.1))
        address, size = rng.randrange(MEMORY_BYTES - 64), rng.randrange(1, 64)
        number, value = rng.randrange(REGISTERS), rng.getrandbits(32)
        data = rng.randbytes(size)
        before, before_touched = bytes(memory), touched
        transfer = rng.choice(("read", "write", "fill", "registers"))
        try:
            if transfer == "read":
                assert link.read(address, size) == memory[address : address + size]
            elif transfer == "write":
                link.write(address, data)
                memory[address : address + size] = data
            elif transfer == "fill":
                link.fill(address, size, data[0])
                memory[address : address + size] = data[:1] * size
            else:
                read = Access(4 * rng.randrange(REGISTERS))
                values = link.access([Access(4 * number, value), read, Access(TOUCHED)])
                registers[number] = value
                touched += 1
                assert values == [value, registers[read.address // 4], touched]
            done += 1
        except LinkError:
            failed += 1
            wanted = {"write": data, "fill": data[:1] * size}.get(transfer)
            settle()
            # Done or not done, and nothing else.
            after = bytearray(before)
            if wanted is not None:
                after[address : address + size] = wanted
            assert bytes(memory) in (before, bytes(after))
            assert touched - before_touched in ((0, 1) if transfer == "registers" else (0,))
    faulty.rate = 0
    assert link.read(0, MEMORY_BYTES) == memory
    assert link.access([Access(4 * n) for n in range(REGISTERS)] + [Access(TOUCHED)]) == [*registers, touched]
    assert all(number > 0.2 * faults for number in faulty.faults.values())
    return {"done": done, "failed": failed, "repeats": link.repeats, **faulty.faults}


def check_outcome(outcome):
    assert outcome["done"] > outcome["failed"] > 0
    assert outcome["repeats"] > outcome["failed"]


def test_transfers_survive_faults(line):
    check_outcome(run_faults(line, seed=1, faults=300))


@pytest.mark.regress
@pytest.mark.parametrize("seed", range(2))
def test_transfers_survive_many_faults(line, seed):
    outcome = run_faults(line, seed=seed, faults=10_000)
    print(outcome)
    check_outcome(outcome)
