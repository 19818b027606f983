"""Orders the loads, streams and drains of a product, and joins them by semaphores.

A product is a list of *steps*: each streams entries against one or two operand tiles that must lie in banks, and may be
followed by a drain. The schedule decides which bank holds what, loads the operands of the next step while the present
one is streamed, and leaves in its bank what is wanted again soonest (Belady's rule).

Each bank has a semaphore of its own. At any time at most one thing is under way that signals it: the load that fills
the bank, or the last stream that reads it. (A stream that is the last to read two banks signals one of the two, and who
fills the other waits for that. What is loaded in pieces has a semaphore for each.) So a WAIT can never be satisfied by
signals that were meant for another. Drains share one semaphore, and are only waited for all at once. Where accumulators
lie is decided in ``acf.runtime.drains``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from acf.config import FabricConfig
from acf.isa import NO_SEMAPHORE, Opcode
from acf.runtime.drains import Accumulators, place_accumulators
from acf.runtime.program import Program

__all__ = ["MOST_PIECES", "OperandTile", "Piece", "Step", "add_steps"]

MOST_PIECES = 4
"""Pieces in which operands are loaded, at most."""

_PIECE_SEMAPHORES = (4, 5, 6)
"""Of all pieces but the first, whose semaphore is that of the bank."""
_DRAIN_SEMAPHORE = 7
_MOST_SIGNALS = 1 << 15
"""Of drains that nobody has waited for; the semaphore counts twice as many."""


@dataclass(frozen=True, kw_only=True)
class OperandTile:
    """Operand rows as a LOAD brings them to a bank.

    Parameters
    ----------
    address, stride : int
        Of the first row and column; bytes from row to row.
    rows : int
    columns, tile_columns : int
        As in the command.
    packed : bool
        Whether they are packed; then ``stride`` is that of chunks.
    lengths, length_stride : int
        As in the command.
    """

    address: int
    stride: int
    rows: int
    columns: int
    tile_columns: int
    packed: bool = False
    lengths: int = 0
    length_stride: int = 0


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Rows of an operand tile that are loaded and streamed by themselves.

    Parameters
    ----------
    loads : list of (int, OperandTile)
        The operand rows that no piece before it has: the first one's place in the bank, and what comes there.
    rows : list of (int, int)
        The rows of the tile that are streamed, first and the one behind the last: of all row feeders, or of each.
    """

    loads: list[tuple[int, OperandTile]]
    rows: list[tuple[int, int]]


@dataclass
class Step:
    """One STREAM, what it needs, and the DRAIN behind it.

    Parameters
    ----------
    operands : dict
        Operand tiles by role: ``bank`` and ``row_bank`` are the fields of the STREAM, ``gate`` the bank of the DRAIN.
        Two operands come to lie in banks of different parity.
    stream : dict or None
        The other fields of the STREAM.
    accumulators : Accumulators
        Where the sums are taken; those of several steps when these share it.
    drain : dict or None
        Fields of the DRAIN.
    offset : int
        Row of the accumulators where STREAM and DRAIN begin.
    feeders : list of dict or None
        Fields of both commands that are another's for each row feeder.
    feeder_rows : list of (int, int) or None
        The rows that each row feeder streams, first and the one behind the last, if not all of ``stream``.
    pieces : list of Piece
        If there are some, the operand whose rows belong to those of ``W`` is loaded and streamed in these pieces, of
        which one is loaded while the one before is streamed.
    """

    operands: dict[str, OperandTile]
    stream: dict[str, int] | None
    accumulators: Accumulators
    drain: dict[str, int] | None = None
    offset: int = 0
    feeders: list[dict[str, int]] | None = None
    feeder_rows: list[tuple[int, int]] | None = None
    pieces: list[Piece] = field(default_factory=list)

    banks: dict[str, int] = field(default_factory=dict, init=False)
    loads: set[str] = field(default_factory=set, init=False)
    releases: set[int] = field(default_factory=set, init=False)
    """Banks that are filled anew after this step."""

    @property
    def role_in_pieces(self) -> str:
        """The role of the operand that comes in pieces."""
        if len(self.pieces) < 2:
            return ""
        return "row_bank" if "row_bank" in self.operands else "bank"


def add_steps(program: Program, config: FabricConfig, steps: list[Step]) -> None:
    """Append the commands of ``steps``, and a WAIT for the last drain; the accumulators must have been cleared.

    Raises
    ------
    ValueError
        If a step has two operands and there is only one bank, or a field does not fit its command.
    """
    _assign_banks(config, steps)
    place_accumulators(config, [step.accumulators for step in steps])
    _Emitter(program, config).emit(steps)


def _assign_banks(config: FabricConfig, steps: list[Step]) -> None:
    count = config.lane.operand_banks
    next_uses = _next_uses(steps)
    contents: list[OperandTile | None] = [None] * count
    wanted = [len(steps)] * count
    latest: list[int | None] = [None] * count  # the step that read the bank last
    for number, step in enumerate(steps):
        if len(step.operands) > count:
            raise ValueError(f"a product of two operand tiles needs two operand banks, and there are {count}")
        # What lies in a bank already first, so that it is not thrown out for the other.
        for role, tile in sorted(step.operands.items(), key=lambda item: item[1] not in contents):
            allowed = [b for b in range(count) if all((b ^ other) & 1 for other in step.banks.values())]
            holding = [b for b in allowed if contents[b] == tile]
            if holding:
                bank = holding[0]
            else:
                free = [b for b in allowed if latest[b] != number - 1 or number == 0] or allowed
                bank = max(free, key=lambda b: (contents[b] is None, wanted[b]))
                step.loads.add(role)
                reader = latest[bank]
                if reader is not None:
                    steps[reader].releases.add(bank)
            step.banks[role] = bank
            contents[bank] = tile
            wanted[bank] = next_uses[number][role]
            latest[bank] = number


def _next_uses(steps: list[Step]) -> list[dict[str, int]]:
    """For each step and role, the number of the next step that needs the same operands."""
    upcoming: dict[OperandTile, int] = {}
    uses = []
    for number, step in reversed(list(enumerate(steps))):
        uses.append({role: upcoming.get(tile, len(steps)) for role, tile in step.operands.items()})
        upcoming.update(dict.fromkeys(step.operands.values(), number))
    return uses[::-1]


class _Emitter:
    def __init__(self, program: Program, config: FabricConfig):
        self._program = program
        self._tiles = config.rows * config.cols
        self._rows = config.rows
        self._all_rows = (1 << config.rows) - 1
        self._all_columns = (1 << config.cols) - 1
        self._issued: set[tuple[int, str, int | None]] = set()  # loads: step, role, piece
        self._released_by: dict[int, int] = {}  # bank: semaphore of the stream that reads it last, not yet waited for
        self._draining = 0  # signals of drains under way
        self._gates: set[int] = set()  # banks that these read

    def emit(self, steps: list[Step]) -> None:
        for number, step in enumerate(steps):
            following = steps[number + 1] if number + 1 < len(steps) else None
            ahead = sorted(following.loads) if following else []
            ahead = [role for role in ahead if following and following.banks[role] not in step.banks.values()]
            whole = sorted(step.loads - {step.role_in_pieces})
            places = range(len(step.pieces) if step.role_in_pieces in step.loads else 0)

            def load_ahead(number=number, following=following, ahead=ahead, *, waits=False) -> None:
                for role in ahead:
                    if following and (waits or not self._must_wait(following.banks[role])):
                        if role != following.role_in_pieces:
                            self._load_once(number + 1, following, role)
                        elif waits:
                            for place in range(len(following.pieces)):
                                self._load_once(number + 1, following, role, place)

            for role in whole:
                self._load_once(number, step, role)
            # A piece ahead of that which is waited for: with more of them this would wait for the column feeders.
            for place in places[:2]:
                self._load_once(number, step, step.role_in_pieces, place)
            if len(places) <= 2:
                load_ahead()
            for role in whole:
                self._wait(step.banks[role], self._tiles)
            for place in places[:-1]:
                self._wait_for_piece(step, place)
                self._stream(step, step.pieces[place])
                if place + 2 < len(places):
                    self._load_once(number, step, step.role_in_pieces, place + 2)
                if place + 2 >= len(places) - 1:
                    # What the banks held was read by steps that have been streamed.
                    load_ahead(waits=not following or not following.pieces)
            if places:
                self._wait_for_piece(step, places[-1])
            self._stream(step, step.pieces[-1] if places else None, is_last=True)
            # Behind the stream, so that the row feeders need not wait while the bank before it is emptied.
            load_ahead(waits=True)
            if step.drain is not None:
                self._drain(step)
        if self._draining:
            self._wait_for_drains()

    def _load_once(self, number: int, step: Step, role: str, place: int | None = None) -> None:
        """Load an operand of a step, or a piece of it, if that has not been done."""
        if (number, role, place) in self._issued:
            return
        self._issued.add((number, role, place))
        bank = step.banks[role]
        if place is None:
            self._load(step.operands[role], bank)
            return
        for first, tile in step.pieces[place].loads:
            self._load(tile, bank, semaphore=_piece_semaphore(bank, place), first=first)

    def _wait_for_piece(self, step: Step, place: int) -> None:
        bank = step.banks[step.role_in_pieces]
        self._wait(_piece_semaphore(bank, place), self._tiles * len(step.pieces[place].loads))

    def _wait(self, semaphore: int, count: int) -> None:
        if count:
            self._program.add(Opcode.WAIT, semaphore=semaphore, count=count)

    def _must_wait(self, bank: int) -> bool:
        return bank in self._released_by or bank in self._gates

    def _wait_for_drains(self) -> None:
        self._program.add(Opcode.WAIT, semaphore=_DRAIN_SEMAPHORE, count=self._draining)
        self._draining = 0
        self._gates.clear()

    def _load(self, tile: OperandTile, bank: int, *, semaphore: int | None = None, first: int = 0) -> None:
        if bank in self._gates:
            self._wait_for_drains()
        if bank in self._released_by:
            released_by = self._released_by[bank]
            self._program.add(Opcode.WAIT, semaphore=released_by, count=self._tiles)
            self._released_by = {b: other for b, other in self._released_by.items() if other != released_by}
        self._program.add(
            Opcode.LOAD,
            semaphore=bank if semaphore is None else semaphore,
            targets=self._all_columns,
            address=tile.address,
            row_stride=tile.stride,
            rows=tile.rows,
            operand_first=first,
            bank=bank,
            columns=tile.columns,
            tile_columns=tile.tile_columns,
            packed=int(tile.packed),
            lengths=tile.lengths,
            length_stride=tile.length_stride,
        )

    def _stream(self, step: Step, piece: Piece | None = None, *, is_last: bool = False) -> None:
        """Append the STREAM of a step, or of some of its rows: only that of the last of them signals."""
        stream = step.stream
        if stream is None:
            return
        rows = step.feeder_rows
        if piece is not None:
            begin = stream["row_begin"]
            rows = [(begin + first, begin + end) for first, end in piece.rows]
        semaphore = NO_SEMAPHORE
        if is_last:
            semaphore = min(step.releases, default=NO_SEMAPHORE)
            self._released_by.update(dict.fromkeys(step.releases, semaphore))
        banks = {role: bank for role, bank in step.banks.items() if role != "gate"}
        for target in self._targets(step, rows=_row_fields(stream, rows or [])):
            self._program.add(Opcode.STREAM, semaphore=semaphore, **{**banks, **stream, **target})

    def _drain(self, step: Step) -> None:
        assert step.drain is not None
        if self._draining + self._rows > _MOST_SIGNALS:
            self._wait_for_drains()
        self._draining += self._rows
        gate = {}
        if "gate" in step.banks:
            self._gates.add(step.banks["gate"])
            gate = {"gate": 1, "bank": step.banks["gate"]}
        for target in self._targets(step):
            self._program.add(Opcode.DRAIN, semaphore=_DRAIN_SEMAPHORE, **{**gate, **step.drain, **target})

    def _targets(self, step: Step, *, rows: Sequence[dict[str, int]] = ()) -> Iterator[dict[str, int]]:
        """The fields that say whom a command is for, for each command that is needed; ``rows`` are those of all row
        feeders or of each."""
        first = {"accumulator_first": step.accumulators.first + step.offset}
        if step.feeders is None and len(rows) <= 1:
            yield {"targets": self._all_rows, **first, **(rows[0] if rows else {})}
            return
        every = range(self._rows)
        for feeder, fields, fields_of_rows in zip(
            every, step.feeders or [{}] * len(every), rows or [{}] * len(every), strict=True
        ):
            yield {"targets": 1 << feeder, **first, **fields, **fields_of_rows}


def _piece_semaphore(bank: int, place: int) -> int:
    return (bank, *_PIECE_SEMAPHORES)[place]


def _row_fields(stream: dict[str, int], rows: Sequence[tuple[int, int]]) -> list[dict[str, int]]:
    """The fields of a STREAM that takes only these rows."""
    fields = []
    for begin, end in rows:
        before = begin - stream["row_begin"]
        operand = stream.get("row_operand_first", 0) + before
        fields.append({"row_begin": begin, "row_end": end, "row_operand_first": operand})
        if "range_first" in stream:
            fields[-1]["range_first"] = stream["range_first"] + before
    return fields
