import dataclasses
import json
import re
import subprocess
import sys

import pytest

from acf.config import (
    NUMBER_FORMATS,
    PRESETS,
    FabricConfig,
    FeederConfig,
    LaneConfig,
    MemoryConfig,
    NocConfig,
    preset,
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LaneConfig(format="fp4"), "number format must be one of bf16, bf16x, int8, not 'fp4'"),
        (lambda: FeederConfig(formats=("coo",)), "format of weights must be one of nm, blocks, not 'coo'"),
        (lambda: LaneConfig(slots=12), "slots of a lane must be a power of two, not 12"),
        (lambda: LaneConfig(slots=1), "slots of a lane must be an integer from 2 to 32, not 1"),
        (lambda: LaneConfig(fifo_depth=0), "lane FIFO depth must be an integer from 4 to 64, not 0"),
        (lambda: LaneConfig(operand_rows=8192), "operand rows must be an integer from 4 to 4096, not 8192"),
        (lambda: LaneConfig(operand_banks=3), "operand banks must be a power of two, not 3"),
        (lambda: LaneConfig(accumulator_rows=100), "accumulator rows must be a power of two, not 100"),
        (lambda: LaneConfig(slots=8.0), "slots of a lane must be an integer from 2 to 32, not 8.0"),  # type: ignore
        (lambda: LaneConfig(operand_banks=True), "operand banks must be an integer from 1 to 4, not True"),
        (lambda: LaneConfig(skipping=0), "skipping of zeros must be True or False, not 0"),  # type: ignore
        (lambda: NocConfig(flit_width=32), "flit width must be 64, not 32"),
        (lambda: NocConfig(virtual_channels=0), "virtual channels must be an integer from 1 to 8, not 0"),
        (lambda: NocConfig(buffer_depth=5), "buffer depth of a virtual channel must be a power of two, not 5"),
        (
            lambda: NocConfig(class_channels=(0, 1)),  # type: ignore
            r"class channels must name 4 channels, not \(0, 1\)",
        ),
        (
            lambda: NocConfig(class_channels=(0, 0, 1, 2)),
            "virtual channel of a traffic class must be an integer from 0 to 1, not 2",
        ),
        (lambda: FeederConfig(cursors=3), "row cursors must be a power of two, not 3"),
        (lambda: FeederConfig(queues=1), "queues of entries must be an integer from 2 to 32, not 1"),
        (lambda: FeederConfig(line_buffers=1), "line buffers must be an integer from 2 to 16, not 1"),
        (lambda: FeederConfig(outstanding=128), "outstanding bursts must be an integer from 1 to 64, not 128"),
        (
            lambda: FeederConfig(operand_bursts=128),
            "outstanding bursts of operands must be an integer from 1 to 64, not 128",
        ),
        (lambda: FeederConfig(packet_rows=0), "rows of an operand packet must be an integer from 1 to 64, not 0"),
        (lambda: MemoryConfig(data_width=32), "memory data width must be an integer from 64 to 512, not 32"),
        (lambda: MemoryConfig(data_width=96), "memory data width must be a power of two, not 96"),
        (lambda: MemoryConfig(address_width=64), "memory address width must be an integer from 16 to 32, not 64"),
        (lambda: MemoryConfig(id_width=0), "memory ID width must be an integer from 1 to 8, not 0"),
        (lambda: FabricConfig(name="x", rows=0, cols=1, lanes=4), "mesh rows must be an integer from 1 to 15, not 0"),
        (
            lambda: FabricConfig(name="x", rows=1, cols=16, lanes=4),
            "mesh columns must be an integer from 1 to 15, not 16",
        ),
        (lambda: FabricConfig(name="x", rows=1, cols=1, lanes=6), "lanes of a tile must be a power of two, not 6"),
        (
            lambda: FabricConfig(name="x", rows=1, cols=1, lanes=1, lane=LaneConfig(slots=2)),
            "columns of a tile must fill whole flits of 4 operands, not 2",
        ),
        (
            lambda: FabricConfig(name="x", rows=1, cols=1, lanes=1, lane=LaneConfig(slots=8)),
            "an operand row of a tile must fill whole memory beats of 32 bytes, not 16 bytes",
        ),
    ],
)
def test_invalid_parameters_are_named(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()


def test_unknown_preset_is_named():
    with pytest.raises(ValueError, match=r"^preset must be one of tiny, base, ulx3s, not 'huge'$"):
        preset("huge")


def test_parameters_may_follow_the_name_of_a_preset():
    config = preset("base,lane.accumulator_rows=512,reducing_adders=2,structure.unstructured=off")
    base = preset("base")
    assert config.name == "base,lane.accumulator_rows=512,reducing_adders=2,structure.unstructured=off"
    assert (config.lane.accumulator_rows, config.reducing_adders, config.structure.unstructured) == (512, 2, False)
    assert dataclasses.replace(config.lane, accumulator_rows=base.lane.accumulator_rows) == base.lane
    assert config.digest != base.digest


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("lane.slot=16", "there is no parameter 'lane.slot' to set"),
        ("cache.ways=2", "there is no parameter 'cache.ways' to set"),
        ("lane=2", "there is no parameter 'lane' to set"),
        ("name=mine", "there is no parameter 'name' to set"),
        ("lane.format=fp4", "number format must be one of bf16, bf16x, int8, not 'fp4'"),
        ("noc.class_channels=1", "there is no parameter 'noc.class_channels' to set"),
        ("", "a parameter must be written as lane.slots=16, not ''"),
        ("lane.slots", "a parameter must be written as lane.slots=16, not 'lane.slots'"),
        ("lane.slots=many", "lane.slots must be a number, not 'many'"),
        ("lane.skipping=1", "lane.skipping must be on or off, not '1'"),
        ("lane.accumulator_rows=100", "accumulator rows must be a power of two, not 100"),
    ],
)
def test_wrong_parameters_of_a_preset_are_named(given, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        preset(f"base,{given}")


def test_presets_are_what_the_documents_say():
    tiny, base = preset("tiny"), preset("base")
    assert (tiny.rows, tiny.cols) == (2, 2)
    assert (base.rows, base.cols, base.lanes, base.lane.format) == (4, 4, 4, "bf16")
    assert {name: config.name for name, config in PRESETS.items()} == {name: name for name in PRESETS}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("format", NUMBER_FORMATS)
def test_presets_work_in_every_format(name, format):
    config = preset(name).with_format(format)
    assert config.lane.format == format
    assert config.lane.number_format is NUMBER_FORMATS[format]
    assert dataclasses.replace(config, lane=preset(name).lane) == preset(name)


def test_derived_sizes():
    base = preset("base")
    assert base.tile_columns == 4 * 8
    assert base.columns == 4 * base.tile_columns
    assert base.total_lanes == 4 * 4 * 4
    assert base.memory.beat_bytes == 32
    assert base.lane.number_format.operand_bytes == 2
    assert base.with_format("int8").lane.number_format.result_bytes == 4


def test_parameters_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("tiny").rows = 3  # type: ignore


def test_digest_leaves_out_the_name_and_nothing_else():
    base = preset("base")
    assert dataclasses.replace(base, name="other").digest == base.digest

    changed = [dataclasses.replace(base, rows=3), dataclasses.replace(base, cols=3), dataclasses.replace(base, lanes=8)]
    halved = {"formats": (), "format": "int8", "class_channels": (0, 1, 1, 1), "flit_width": None, "skipping": False}
    for part in ("lane", "noc", "feeder", "memory"):
        for field in dataclasses.fields(getattr(base, part)):
            value = getattr(getattr(base, part), field.name)
            new = halved.get(field.name, value // 2 if isinstance(value, int) else value)
            if new is None:
                continue  # has one legal value
            if field.name == "virtual_channels":
                new = 4
            changed.append(
                dataclasses.replace(base, **{part: dataclasses.replace(getattr(base, part), **{field.name: new})})
            )
    digests = [config.digest for config in changed] + [base.digest]
    assert len(set(digests)) == len(digests)


def test_digest_is_the_same_in_every_process():
    program = "from acf.config import preset; print(preset('base').digest)"
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == preset("base").digest
    assert len(preset("base").digest) == 12
    int(preset("base").digest, 16)


def test_description_is_plain_data():
    described = json.loads(json.dumps(preset("tiny").describe()))
    assert described["digest"] == preset("tiny").digest
    assert described["lane"]["slots"] == preset("tiny").lane.slots
