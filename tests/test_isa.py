import random

import pytest

from acf import isa
from acf.isa import COMMAND_FIELDS, COMMAND_WORDS, Opcode, decode_command, encode_command


@pytest.mark.parametrize("opcode", Opcode)
def test_fields_do_not_overlap(opcode):
    taken = {}
    for name, place in COMMAND_FIELDS[opcode].items():
        assert 0 <= place.word < COMMAND_WORDS, name
        assert place.width > 0, name
        assert place.low >= 0, name
        assert place.low + place.width <= 32, name
        for bit in range(place.low, place.low + place.width):
            other = taken.setdefault((place.word, bit), name)
            assert other == name, f"bit {bit} of word {place.word} belongs to {other} and {name}"


def test_fields_of_one_name_stand_in_one_place():
    """Hardware takes a field out before it knows the opcode."""
    places = {}
    for opcode, fields in COMMAND_FIELDS.items():
        for name, place in fields.items():
            assert places.setdefault(name, place) == place, f"{name} moves in {opcode.name}"


def test_every_opcode_has_fields():
    assert set(COMMAND_FIELDS) == set(Opcode)
    assert 0 not in set(Opcode), "blank memory must not be a program"


def random_values(opcode, rng, corner=None):
    values = {}
    for name, place in COMMAND_FIELDS[opcode].items():
        if name not in ("opcode", "version"):
            top = (1 << place.width) - 1
            values[name] = rng.randint(0, top) if corner is None else (top if corner else 0)
    return values


@pytest.mark.parametrize("opcode", Opcode)
def test_decoding_undoes_encoding(opcode):
    rng = random.Random(int(opcode))
    for corner in [0, 1] + [None] * 50:
        values = random_values(opcode, rng, corner)
        words = encode_command(opcode, **values)
        assert len(words) == COMMAND_WORDS
        assert all(0 <= word < 1 << 32 for word in words)
        assert decode_command(words) == (opcode, {**values, "opcode": int(opcode), "version": isa.VERSION})


def test_fields_left_out_are_zero_and_signal_nothing():
    _, values = decode_command(encode_command(Opcode.LOAD, rows=3))
    assert values.pop("rows") == 3
    assert values.pop("semaphore") == isa.NO_SEMAPHORE
    assert values.pop("opcode") == Opcode.LOAD
    assert values.pop("version") == isa.VERSION
    assert set(values.values()) == {0}


def test_bits_stand_where_the_document_says():
    words = encode_command(Opcode.LOAD, semaphore=2, targets=0x8001, address=0x1234, rows=7, operand_first=9, bank=3)
    assert words[0] == 0x10 | 2 << 8 | isa.VERSION << 28
    assert words[1] == 0x8001
    assert words[2] == 0x1234
    assert words[4] == 7 | 9 << 16
    assert words[10] == 3 << 16


@pytest.mark.parametrize(
    ("opcode", "values", "message"),
    [
        (Opcode.END, {"rows": 1}, "command END has no field 'rows'"),
        (Opcode.LOAD, {"rows": 1 << 16}, "rows of command LOAD must fit 16 bits, not 65536"),
        (Opcode.LOAD, {"rows": -1}, "rows of command LOAD must fit 16 bits, not -1"),
        (Opcode.STREAM, {"skip": 2}, "skip of command STREAM must fit 1 bits, not 2"),
        (Opcode.WAIT, {"semaphore": 16}, "semaphore of command WAIT must fit 4 bits, not 16"),
    ],
)
def test_values_that_do_not_fit_are_refused(opcode, values, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        encode_command(opcode, **values)


def test_words_that_are_no_command_are_refused():
    end = encode_command(Opcode.END)
    with pytest.raises(ValueError, match="a command has 16 words, not 15"):
        decode_command(end[:15])
    with pytest.raises(ValueError, match="unknown opcode 0x00"):
        decode_command([0] * COMMAND_WORDS)
    with pytest.raises(ValueError, match=f"program format version must be {isa.VERSION}, not 15"):
        decode_command([end[0] & 0x0FFFFFFF | 15 << 28, *end[1:]])
    for word, bit in [(0, 12), (1, 0), (15, 31)]:
        wrong = list(end)
        wrong[word] |= 1 << bit
        with pytest.raises(ValueError, match="command END has bits set outside its fields"):
            decode_command(wrong)


def test_registers_are_words_of_their_own():
    offsets = [int(register) for register in isa.Register]
    assert len(set(offsets)) == len(offsets) == len(isa.Register.__members__)
    assert all(offset % 4 == 0 and offset < 1 << 12 for offset in offsets)


def test_counters_of_a_tile_do_not_collide():
    causes = {int(cause) for cause in isa.LaneCause}
    extra = {int(counter) for counter in isa.LaneCounter}
    assert not causes & extra
    assert max(causes | extra) < isa.COUNTERS_PER_LANE
    most_lanes = 16
    assert min(isa.TileCounter) >= most_lanes * isa.COUNTERS_PER_LANE
    assert max(isa.TileCounter) < 256


def test_semaphores_fit_their_field():
    width = COMMAND_FIELDS[Opcode.WAIT]["semaphore"].width
    assert isa.SEMAPHORES <= isa.NO_SEMAPHORE < 1 << width
