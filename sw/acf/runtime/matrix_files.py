"""Reads sparse matrices from files: Matrix Market, ``.smtx`` (patterns only) and NumPy archives.

Whatever is wrong with a file is said in one sentence that names the file and the value.
"""

import gzip
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse

from acf.runtime.matrices import MAX_SIZE, CsrMatrix, quantize, random_values

__all__ = ["SUFFIXES", "read_matrix"]

SUFFIXES = (".mtx", ".mtx.gz", ".smtx", ".smtx.gz", ".npz")

_MAX_DENSE_ELEMENTS = 1 << 28
_SPARSE_KEYS = {"indptr", "indices", "data", "shape"}


def read_matrix(path: str | Path, *, format: str, seed: int = 0) -> CsrMatrix:
    """The matrix in a file, in CSR, its values rounded to ``format``.

    Parameters
    ----------
    path : str or Path
        ``.mtx`` or ``.mtx.gz``: Matrix Market, real, integer or pattern. ``.smtx`` or ``.smtx.gz``: the sizes, the row
        pointers and the column indices, a line each, as the Deep Learning Matrix Collection has them. ``.npz``: a
        matrix saved by ``scipy.sparse.save_npz``, the arrays ``indptr``, ``indices``, ``data`` and ``shape``, or one
        two-dimensional array.
    format : str
        Number format.
    seed : int
        Where the file gives only a pattern, its values are drawn from a normal distribution with this seed.

    Raises
    ------
    ValueError
        If the file cannot be read or does not hold a matrix.
    """
    path = Path(path)
    readers = {".mtx": _read_matrix_market, ".smtx": _read_smtx, ".npz": _read_npz}
    suffix = path.name.removesuffix(".gz")
    suffix = suffix[suffix.rfind(".") :] if "." in suffix else ""
    if suffix not in readers or (path.name.endswith(".gz") and suffix == ".npz"):
        raise ValueError(f"{path}: a matrix file must end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        shape, pointers, indices, values = readers[suffix](path)
        if values is None:
            values = random_values(indices.size, seed=seed, format=format)
        else:
            values = quantize(values, format=format, what="values")
        return CsrMatrix(shape, pointers, indices, values, format)
    except MemoryError as error:
        raise ValueError(f"{path}: the matrix does not fit into memory") from error
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile, KeyError, OverflowError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: {reason}") from error


_Parts = tuple[tuple[int, int], np.ndarray, np.ndarray, np.ndarray | None]


def _read_matrix_market(path: Path) -> _Parts:
    rows, columns, entries, layout, field, _symmetry = scipy.io.mminfo(path)
    _check_sizes(rows, columns)
    if field not in ("real", "double", "integer", "unsigned-integer", "pattern"):
        raise ValueError(f"values must be real, integer or pattern, not {field}")
    if layout == "array" and rows * columns > _MAX_DENSE_ELEMENTS:
        raise ValueError(f"a dense matrix may have {_MAX_DENSE_ELEMENTS} elements, not {rows} x {columns}")
    if entries > rows * columns:
        raise ValueError(f"a matrix of {rows} x {columns} cannot have {entries} entries")
    matrix = scipy.sparse.csr_array(scipy.io.mmread(path))
    shape, pointers, indices, values = _parts_of(matrix)
    return shape, pointers, indices, None if field == "pattern" else values


def _read_smtx(path: Path) -> _Parts:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.name.endswith(".gz") else data).decode("ascii", errors="strict")
    lines = text.split("\n")
    sizes = _integers(lines[0].replace(",", " "), "line 1")
    if len(sizes) != 3:
        raise ValueError(f"line 1 must give rows, columns and entries, not {lines[0][:60]!r}")
    rows, columns, entries = sizes.tolist()
    _check_sizes(rows, columns)
    pointers = _integers(lines[1] if len(lines) > 1 else "", "line 2")
    indices = _integers(lines[2] if len(lines) > 2 else "", "line 3")
    if any(line.strip() for line in lines[3:]):
        raise ValueError(f"there must be 3 lines, but line 4 is {lines[3][:60]!r}")
    if indices.size != entries:
        raise ValueError(f"line 1 promises {entries} entries, but line 3 has {indices.size} column indices")
    return (rows, columns), pointers, indices, None


def _integers(line: str, where: str) -> np.ndarray:
    words = line.split()
    for word in words:
        if not word.removeprefix("-").isdigit() or len(word) > 18:
            raise ValueError(f"{where} must hold integers, but has {word[:60]!r}")
    return np.array(words, dtype=np.int64)


def _read_npz(path: Path) -> _Parts:
    # Opened here, since NumPy leaves the file open when it is not an archive.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        names = set(archive.files)
        if "format" not in names and names >= _SPARSE_KEYS:
            return _csr_parts(archive)
        if "format" not in names:
            return _only_array(archive)
        layout = archive["format"].item()
        layout = layout.decode("ascii", errors="replace") if isinstance(layout, bytes) else str(layout)
        if layout == "csr" and names >= _SPARSE_KEYS:
            # Not through SciPy, which would sort or refuse in its own words.
            return _csr_parts(archive)
        if "shape" in names:
            _check_sizes(*_shape(archive))
    matrix = scipy.sparse.csr_array(scipy.sparse.load_npz(path))
    return _parts_of(matrix)


def _parts_of(matrix: Any) -> _Parts:
    return matrix.shape, matrix.indptr, matrix.indices, matrix.data


def _csr_parts(archive: np.lib.npyio.NpzFile) -> _Parts:
    return _shape(archive), archive["indptr"], archive["indices"], archive["data"]


def _shape(archive: np.lib.npyio.NpzFile) -> tuple[int, int]:
    shape = archive["shape"]
    if shape.shape != (2,) or not np.issubdtype(shape.dtype, np.integer):
        raise ValueError(f"shape must be two integers, not {shape.tolist()!r}")
    return int(shape[0]), int(shape[1])


def _only_array(archive: np.lib.npyio.NpzFile) -> _Parts:
    arrays = {name: archive[name] for name in archive.files}
    matrices = [name for name, array in arrays.items() if array.ndim == 2]
    if len(matrices) != 1:
        raise ValueError(
            "an archive must hold a sparse matrix (indptr, indices, data, shape) or one two-dimensional array, "
            f"but it holds {', '.join(f'{name} {array.shape}' for name, array in arrays.items()) or 'nothing'}"
        )
    array = arrays[matrices[0]]
    matrix = scipy.sparse.csr_array(array)
    return _parts_of(matrix)


def _check_sizes(rows: int, columns: int) -> None:
    for what, size in (("rows", rows), ("columns", columns)):
        if not 0 <= size <= MAX_SIZE:
            raise ValueError(f"a matrix must have 0 to {MAX_SIZE} {what}, not {size}")
