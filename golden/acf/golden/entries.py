"""How rows of ``W`` in memory become entries: the decoders, as a STREAM command defines them."""

from typing import NamedTuple

import numpy as np

from acf.golden.bitmaps import bitmap_columns
from acf.golden.formats import GoldenFormat
from acf.golden.guarded_memory import CommandFault, GuardedMemory
from acf.isa import (
    BLOCK,
    DECODED_COLUMNS,
    Decoder,
    ErrorCode,
    IndexSize,
    Mode,
    Ranges,
    pattern_row_entries,
    place_bits,
)

__all__ = ["EntryReader", "Stream"]

_OPTIONAL = {"nm": Decoder.N_OF_M, "blocks": Decoder.BLOCKS}

_PLACES = 1 << 16
"""Places of entries, and how many there are, are remembered modulo this."""


class Stream(NamedTuple):
    """Entries that one row feeder sends, row after row.

    Attributes
    ----------
    rows : numpy.ndarray
        Number of the entry's row among those of the feeder, per entry.
    inner : numpy.ndarray
        Column index relative to the begin of the feeder's inner range.
    numbers : numpy.ndarray
        Place of the entry relative to the begin of the feeder's entry range (SAMPLED).
    values : numpy.ndarray
        None are read in a SAMPLED; they are 0 then.
    zeros_dropped, filtered : int
        Entries not sent because their value is zero, and because they lie outside the inner range.
    """

    rows: np.ndarray
    inner: np.ndarray
    numbers: np.ndarray
    values: np.ndarray
    zeros_dropped: int
    filtered: int


class EntryReader:
    """Reads the rows that one row feeder takes for one STREAM.

    Parameters
    ----------
    memory : GuardedMemory
    command : dict
        Fields of the STREAM.
    arithmetic : GoldenFormat
    feeder : int
        Number of the row feeder.
    remembered : numpy.ndarray
        Of each row that the table of the feeder has a place for, where the entries inside the inner range begin, and
        how many there are from the first to the last. Read and written as ``ranges`` of the command says.
    formats : tuple of str
        Decoders that are built besides those that always are.
    command_address : int
        Named when a field is out of range.
    """

    def __init__(
        self,
        memory: GuardedMemory,
        *,
        command: dict[str, int],
        arithmetic: GoldenFormat,
        feeder: int,
        remembered: np.ndarray,
        formats: tuple[str, ...],
        command_address: int,
    ):
        self._memory = memory
        self._command = command
        self._arithmetic = arithmetic
        self._source = source = (feeder + 1, 0)
        self._inner_begin = command["inner_begin"] + feeder * command["inner_offset"]
        self._remembered = remembered
        self._sampled = command["mode"] == Mode.SAMPLED
        self._entry_begin = command["entry_begin"] + feeder * command["entry_count"]
        decoder = command["decoder"]
        unfit = self._unfit(formats)
        if unfit is not None:
            raise CommandFault(ErrorCode.COMMAND_RANGE, address=command_address, source=source, detail=unfit)
        self._index_type = np.dtype("<u2" if command["index_size"] == IndexSize.UINT16 else "<u4")
        aligned = [] if self._sampled else [("values", arithmetic.dtype.itemsize)]
        if decoder in (Decoder.CSR, Decoder.BITMAP, Decoder.BLOCKS):
            index_size = memory.beat_bytes if decoder == Decoder.BITMAP else self._index_type.itemsize
            aligned += [("pointers", 4), ("indices", index_size)]
        for what, size in aligned:
            if command[what] % size:
                raise CommandFault(
                    ErrorCode.MISALIGNED,
                    address=command[what],
                    source=source,
                    detail=f"{what} must lie at a multiple of {size}",
                )

    def _unfit(self, formats: tuple[str, ...]) -> str | None:
        """Why no decoder can carry out the command."""
        command, decoder = self._command, self._command["decoder"]
        is_large = command["inner_size"] > DECODED_COLUMNS
        built = {Decoder.CSR, Decoder.DENSE, Decoder.BITMAP, *(_OPTIONAL[name] for name in formats)}
        if decoder not in built:
            return f"decoder {decoder} is not built"
        if decoder == Decoder.BITMAP and (command["mode"] != Mode.GATHER or is_large):
            return f"a bitmap is for a GATHER of at most {DECODED_COLUMNS} columns"
        if decoder == Decoder.N_OF_M and (command["kept"] > command["group"] or is_large):
            return f"N of M are fewer than M, of at most {DECODED_COLUMNS} columns"
        if decoder == Decoder.BLOCKS and (command["mode"] == Mode.SAMPLED or command["index_size"] != IndexSize.UINT16):
            return "blocks have indices of 16 bits, and are not for a SAMPLED"
        return None

    def read(self, rows: np.ndarray) -> Stream:
        """Entries of ``rows``, in order.

        Raises
        ------
        CommandFault
            For the first error in the order of the rows and their entries.
        """
        if self._command["decoder"] == Decoder.DENSE:
            return self._read_dense(rows)
        if self._command["decoder"] == Decoder.N_OF_M:
            return self._read_groups(rows)
        return self._read_with_pointers(rows)

    def _read_dense(self, rows: np.ndarray) -> Stream:
        command = self._command
        begin = min(self._inner_begin, command["inner_size"])
        count = min(command["inner_count"], command["inner_size"] - begin)
        places = rows[:, None] * command["inner_size"] + begin + np.arange(count)
        inner = np.tile(np.arange(count), rows.size)
        inside = self._in_entry_range(places.ravel())
        return self._send(places.ravel()[inside], np.repeat(np.arange(rows.size), count)[inside], inner[inside], 0)

    def _read_groups(self, rows: np.ndarray) -> Stream:
        """All entries of the groups of columns that the inner range meets."""
        command, begin = self._command, self._inner_begin
        n, m = 1 << command["kept"], 2 << command["group"]
        width, row_entries = place_bits(m), pattern_row_entries(command["inner_size"], n, m)
        end = min(-(-(begin + command["inner_count"]) // m) * n, row_entries)
        positions = np.arange(begin // m * n, end)
        rows_of_entries, within = np.repeat(np.arange(rows.size), positions.size), np.tile(positions, rows.size)
        places = rows[rows_of_entries] * row_entries + within
        taken = self._in_entry_range(places)
        rows_of_entries, within, places = rows_of_entries[taken], within[taken], places[taken]
        bits = places * width
        octets = self._memory.gather(command["indices"] + (bits >> 3), np.dtype("u1"), source=self._source)
        indices = within // n * m + (octets >> (bits & 7) & m - 1)
        self._check_indices(indices, rows[rows_of_entries])
        inner = indices - begin
        inside = (inner >= 0) & (inner < command["inner_count"])
        return self._send(places[inside], rows_of_entries[inside], inner[inside], int(np.count_nonzero(~inside)))

    def _read_with_pointers(self, rows: np.ndarray) -> Stream:
        command = self._command
        size = BLOCK if command["decoder"] == Decoder.BLOCKS else 1
        begins, ends = (
            self._memory.gather(
                command["pointers"] + 4 * (rows // size + offset), np.dtype("<u4"), source=self._source
            ).astype(np.int64)
            for offset in (0, 1)
        )
        good, fault = self._check_pointers(rows, begins, ends, limit=command["entries"] // size**2)
        # Of a row in blocks, as many places as columns of blocks.
        rows, begins, ends = rows[:good], begins[:good] * size, ends[:good] * size
        if command["ranges"] == Ranges.USE:
            begins, ends = self._remembered_part(begins, ends)

        counts = ends - begins
        rows_of_entries = np.repeat(np.arange(rows.size), counts)
        within = np.arange(rows_of_entries.size) - np.repeat(np.cumsum(counts) - counts, counts)
        places = begins[rows_of_entries] + within
        taken = self._in_entry_range(places)
        rows_of_entries, places = rows_of_entries[taken], places[taken]
        if command["decoder"] == Decoder.BITMAP:
            indices = bitmap_columns(
                self._memory, command, inner_begin=self._inner_begin, rows=rows, counts=counts, source=self._source
            )
        else:
            indices = self._read_indices(places, rows[rows_of_entries], size=size)
        if fault is not None:
            raise fault
        inner = indices - self._inner_begin
        inside = (inner >= 0) & (inner < command["inner_count"])
        if command["ranges"] == Ranges.RECORD:
            self._remember(rows.size, rows_of_entries, places, inside)
        # Of blocks, the values of their first rows come before those of the second ones.
        planes = rows[rows_of_entries] % size * (command["entries"] // BLOCK)
        values = (places + planes)[inside]
        return self._send(values, rows_of_entries[inside], inner[inside], int(np.count_nonzero(~inside)))

    def _read_indices(self, places: np.ndarray, rows: np.ndarray, *, size: int) -> np.ndarray:
        """The column index at each place, of an entry of the row beside it; one index for ``size`` columns."""
        command = self._command
        indices = self._memory.gather(
            command["indices"] + places // size * self._index_type.itemsize, self._index_type, source=self._source
        ).astype(np.int64)
        indices = indices * size + places % size
        self._check_indices(indices, rows)
        return indices

    def _check_indices(self, indices: np.ndarray, rows: np.ndarray) -> None:
        bad = indices >= self._command["inner_size"]
        if bad.any():
            first = int(np.argmax(bad))
            raise CommandFault(
                ErrorCode.INDEX_RANGE,
                row=int(rows[first]),
                index=int(indices[first]),
                source=self._source,
                detail=f"the inner size is {self._command['inner_size']}",
            )

    def _remembered_part(self, begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each row what is remembered of it, as far as it lies in the row."""
        first, count = self._table(begins.size).T
        begins = begins + (first - begins) % _PLACES
        return begins, np.clip(np.minimum(begins + count, ends), begins, None)

    def _remember(self, rows: int, rows_of_entries: np.ndarray, places: np.ndarray, inside: np.ndarray) -> None:
        """Remember the first and the last entry inside of each row of which any entry was looked at."""
        looked_at, found = np.unique(rows_of_entries), rows_of_entries[inside]
        firsts, ends = (np.searchsorted(found, looked_at, side=side) for side in ("left", "right"))
        table, places = self._table(rows), places[inside]
        table[looked_at, 1] = 0
        some = ends > firsts
        first, last = places[firsts[some]], places[ends[some] - 1]
        table[looked_at[some]] = np.stack([first, last - first + 1], axis=1) % _PLACES

    def _table(self, rows: int) -> np.ndarray:
        first = self._command["range_first"]
        return self._remembered[first : first + rows]

    def _in_entry_range(self, places: np.ndarray) -> np.ndarray:
        """Which entries a SAMPLED takes by their place; the other modes take all."""
        if not self._sampled:
            return np.ones(places.shape, dtype=np.bool_)
        return (places >= self._entry_begin) & (places < self._entry_begin + self._command["entry_count"])

    def _check_pointers(
        self, rows: np.ndarray, begins: np.ndarray, ends: np.ndarray, *, limit: int
    ) -> tuple[int, CommandFault | None]:
        """How many rows come before the first bad pointer, and the fault that it is."""
        bad = (begins > limit) | (ends > limit) | (ends < begins)
        if not bad.any():
            return rows.size, None
        first = int(np.argmax(bad))
        row, begin, end = int(rows[first]), int(begins[first]), int(ends[first])
        if begin > limit or end > limit:
            return first, CommandFault(
                ErrorCode.POINTER_RANGE,
                row=row,
                index=begin if begin > limit else end,
                source=self._source,
                detail=f"there are {limit} entries or blocks",
            )
        return first, CommandFault(
            ErrorCode.POINTER_ORDER, row=row, index=end, source=self._source, detail=f"the pointer before it is {begin}"
        )

    def _send(self, places: np.ndarray, rows: np.ndarray, inner: np.ndarray, filtered: int) -> Stream:
        dtype = self._arithmetic.dtype
        sent = np.ones(places.shape, dtype=np.bool_)
        if self._sampled:
            values = np.zeros(places.shape, dtype=dtype)
        else:
            values = self._memory.gather(self._command["values"] + places * dtype.itemsize, dtype, source=self._source)
            if self._command["skip"]:
                sent = ~self._arithmetic.is_zero(values)
        return Stream(
            rows=rows[sent],
            inner=inner[sent],
            numbers=places[sent] - self._entry_begin,
            values=values[sent],
            zeros_dropped=int(np.count_nonzero(~sent)),
            filtered=filtered,
        )
