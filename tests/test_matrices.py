"""Matrices: validation, random operands, and files whole and broken."""

import gzip

import ml_dtypes
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from acf.golden.formats import golden_format
from acf.runtime.matrices import CsrMatrix, random_operand, random_weights, validate_csr
from acf.runtime.matrix_files import read_matrix

DENSE = np.array([[1.5, 0, -2], [0, 0, 0], [0, 3, 0], [4, 0, 0.5]])


def same(matrix: CsrMatrix, dense=DENSE):
    return matrix.shape == dense.shape and (matrix.to_dense().astype(np.float64) == dense).all()


class TestValidation:
    @pytest.mark.parametrize(
        ("shape", "pointers", "indices", "message"),
        [
            ((2, 3), [0, 2, 1], [0], "pointer 2 is 1 after 2"),
            ((2, 3), [0, 1], [0], "a matrix of 2 rows must have 3 row pointers, not 2"),
            ((2, 3), [1, 1, 1], [0], "the first row pointer must be 0, not 1"),
            ((2, 3), [0, 1, 3], [0, 1], "must be the number of column indices, 2, not 3"),
            ((2, 3), [0, 1, 2], [0, 3], "from 0 to 2, but entry 1 has 3"),
            ((2, 3), [0, 1, 2], [-1, 0], "entry 0 has -1"),
            ((-1, 3), [0], [], "0 to 16777216 rows, not -1"),
            ((1, 1 << 25), [0, 0], [], "0 to 16777216 columns, not 33554432"),
        ],
    )
    def test_bad_structure(self, shape, pointers, indices, message):
        with pytest.raises(ValueError, match=message):
            validate_csr(shape, np.array(pointers, dtype=np.int64), np.array(indices, dtype=np.int64))

    def test_structure_must_be_integers(self):
        with pytest.raises(
            ValueError, match="row pointers must be a flat array of integers, not 1-dimensional of float64"
        ):
            validate_csr((1, 1), np.array([0.0, 1.0]), np.array([0]))

    def test_legal_oddities(self):
        validate_csr((3, 2), np.array([0, 0, 4, 4]), np.array([1, 0, 1, 1]))
        validate_csr((0, 0), np.array([0]), np.array([], dtype=int))

    def test_values(self):
        with pytest.raises(ValueError, match="values must be 1 numbers of type bfloat16, not of shape"):
            CsrMatrix((1, 1), np.array([0, 1]), np.array([0]), np.array([1.0]), "bf16")
        with pytest.raises(ValueError, match="weights must be finite, but number 1 is nan"):
            CsrMatrix.from_scipy(scipy.sparse.csr_array(np.array([[1, np.nan]])), format="bf16")
        with pytest.raises(ValueError, match="weights must be real numbers, not complex128"):
            CsrMatrix.from_scipy(scipy.sparse.csr_array(np.array([[1j]])), format="bf16")
        with pytest.raises(ValueError, match="two-dimensional SciPy sparse matrix, not ndarray"):
            CsrMatrix.from_scipy(DENSE, format="bf16")
        with pytest.raises(ValueError, match="weights must be two-dimensional, not 1-dimensional"):
            CsrMatrix.from_dense(DENSE[0], format="bf16")

    def test_from_arrays(self):
        for matrix in (
            CsrMatrix.from_dense(DENSE, format="bf16"),
            CsrMatrix.from_scipy(scipy.sparse.coo_array(DENSE), format="bf16"),
        ):
            assert same(matrix)
            assert matrix.entries == matrix.nonzeros == 5
            assert matrix.density == 5 / 12
        assert CsrMatrix.from_dense(np.zeros((0, 3)), format="bf16").density is None

    def test_duplicates(self):
        values = np.array([1, 2, 3, 0], dtype=np.int8)
        matrix = CsrMatrix((2, 2), np.array([0, 3, 4]), np.array([1, 0, 1, 0]), values, "int8")
        with pytest.raises(ValueError, match=r"element \(0, 1\) has more than one entry"):
            matrix.to_dense()
        assert matrix.entries == 4
        assert matrix.nonzeros == 3
        assert matrix.canonical().to_dense().tolist() == [[2, 1], [0, 0]]
        assert matrix.canonical().indices.tolist() == [0, 1, 0]


class TestRandom:
    @pytest.mark.parametrize("format", ["bf16", "int8"])
    @pytest.mark.parametrize("density", [0, 0.1, 0.5, 1])
    def test_density_is_exact(self, format, density):
        weights = random_weights(rows=20, inner=30, density=density, seed=1, format=format)
        operand = random_operand(inner=20, columns=30, density=density, seed=1, format=format)
        assert weights.nonzeros == weights.entries == 600 * density
        assert np.count_nonzero(operand != 0) == 600 * density
        assert operand.dtype == golden_format(format).dtype

    @pytest.mark.parametrize(("density", "concentration"), [(0.5, 2), (0.5, 20), (0.2, 1), (0, 2), (1, 2)])
    def test_columns_are_as_uneven_as_asked(self, density, concentration):
        """Mean and variance of a beta distribution of parameters a and b: a / (a + b), m (1 - m) / (a + b + 1)."""
        operand = random_operand(
            inner=400, columns=2000, density=density, seed=1, format="bf16", concentration=concentration
        )
        densities = np.count_nonzero(operand.astype(np.float32), axis=0) / 400
        variance = density * (1 - density) / (concentration + 1)
        assert abs(densities.mean() - density) < 4 * np.sqrt(variance / 2000) + 1e-12
        # The number that is drawn of a column varies too.
        assert densities.var() == pytest.approx(variance + density * (1 - density) / 400, rel=0.15)

    def test_seed_decides(self):
        def make(seed):
            return random_weights(rows=9, inner=9, density=0.5, seed=seed, format="bf16").to_dense().tobytes()

        assert make(1) == make(1)
        assert make(1) != make(2)
        assert make(1) != random_operand(inner=9, columns=9, density=0.5, seed=1, format="bf16").tobytes()

    def test_values_are_normal(self):
        values = random_operand(inner=100, columns=100, density=1, seed=1, format="bf16").astype(np.float64)
        assert abs(values.mean()) < 0.05
        assert abs(values.std() - 1) < 0.05

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"density": -0.1}, "weight density must be from 0 to 1, not -0.1"),
            ({"density": 1.5}, "not 1.5"),
            ({"density": float("nan")}, "not nan"),
            ({"rows": -1}, "0 to 16777216 rows, not -1"),
            ({"seed": -3}, "seed must not be negative, not -3"),
            ({"rows": 1 << 20, "inner": 1 << 20}, r"2\^28 elements, not 1048576 x 1048576"),
            ({"format": "fp8"}, "number format must be one of bf16, bf16x, int8, not 'fp8'"),
        ],
    )
    def test_bad_arguments(self, changes, message):
        with pytest.raises(ValueError, match=message):
            random_weights(**{"rows": 3, "inner": 3, "density": 0.5, "seed": 1, "format": "bf16", **changes})


SMTX = "4, 3, 5\n0 2 2 3 5\n0 2 1 0 2\n"


class TestFiles:
    @pytest.mark.parametrize("name", ["w.mtx", "w.mtx.gz"])
    @pytest.mark.parametrize("matrix", [scipy.sparse.coo_array(DENSE), DENSE], ids=["coordinate", "array"])
    def test_matrix_market(self, tmp_path, name, matrix):
        path = tmp_path / name
        with gzip.open(path, "wb") if name.endswith(".gz") else open(path, "wb") as file:
            scipy.io.mmwrite(file, matrix)
        assert same(read_matrix(path, format="bf16"))

    def test_matrix_market_symmetric_and_pattern(self, tmp_path):
        path = tmp_path / "w.mtx"
        path.write_text("%%MatrixMarket matrix coordinate pattern symmetric\n3 3 2\n2 1\n3 3\n")
        matrix = read_matrix(path, format="int8", seed=4)
        assert np.argwhere(matrix.to_dense() != 0).tolist() == [[0, 1], [1, 0], [2, 2]]
        assert (read_matrix(path, format="int8", seed=4).values == matrix.values).all()

    @pytest.mark.parametrize("name", ["w.smtx", "w.smtx.gz"])
    def test_smtx(self, tmp_path, name):
        path = tmp_path / name
        path.write_bytes(gzip.compress(SMTX.encode()) if name.endswith(".gz") else SMTX.encode())
        matrix = read_matrix(path, format="bf16", seed=1)
        assert ((matrix.to_dense() != 0) == (DENSE != 0)).all()

    def test_smtx_without_entries(self, tmp_path):
        path = tmp_path / "w.smtx"
        path.write_text("2, 3, 0\n0 0 0\n\n")
        assert read_matrix(path, format="bf16").entries == 0

    @pytest.mark.parametrize("layout", ["csr", "csc", "coo", "bsr"])
    def test_npz_of_scipy(self, tmp_path, layout):
        scipy.sparse.save_npz(tmp_path / "w.npz", scipy.sparse.coo_matrix(DENSE).asformat(layout))
        assert same(read_matrix(tmp_path / "w.npz", format="bf16"))

    def test_npz_of_arrays(self, tmp_path):
        np.savez(tmp_path / "dense.npz", weight=DENSE, bias=np.zeros(3))
        assert same(read_matrix(tmp_path / "dense.npz", format="bf16"))
        csr = scipy.sparse.csr_array(DENSE)
        np.savez(tmp_path / "csr.npz", indptr=csr.indptr, indices=csr.indices, data=csr.data, shape=DENSE.shape)
        assert same(read_matrix(tmp_path / "csr.npz", format="bf16"))

    def test_values_are_rounded(self, tmp_path):
        np.savez(tmp_path / "w.npz", w=np.array([[1 + 2.0**-12, 300.4]]))
        assert read_matrix(tmp_path / "w.npz", format="bf16").values.tolist() == [1.0, 300.0]
        assert read_matrix(tmp_path / "w.npz", format="int8").values.tolist() == [1, 127]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("w.txt", b"", r"must end in \.mtx"),
            ("w", b"", r"must end in \.mtx"),
            ("w.npz.gz", b"", r"must end in \.mtx"),
            ("w.mtx", b"", "w.mtx: "),
            ("w.mtx", b"\0\xff garbage", "w.mtx: "),
            ("w.mtx", b"%%MatrixMarket matrix coordinate real general\n2 2 3\n1 1 1\n", "w.mtx: "),
            ("w.mtx", b"%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 1\n", "w.mtx: "),
            ("w.mtx", b"%%MatrixMarket matrix coordinate real general\n2 2 9\n1 1 1\n", "cannot have 9 entries"),
            ("w.mtx", b"%%MatrixMarket matrix coordinate real general\n-2 2 1\n1 1 1\n", "w.mtx: "),
            ("w.mtx", b"%%MatrixMarket matrix coordinate real general\n99999999 2 1\n1 1 1\n", "rows, not 99999999"),
            ("w.mtx", b"%%MatrixMarket matrix array real general\n16777216 16777216\n1\n", "not 16777216 x 16777216"),
            ("w.mtx", b"%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 nan\n", "number 0 is nan"),
            ("w.mtx", b"%%MatrixMarket matrix coordinate complex general\n2 2 1\n1 1 1 1\n", "not complex"),
            ("w.mtx.gz", b"not gzip", "w.mtx.gz: "),
            (
                "w.mtx.gz",
                gzip.compress(b"%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 1\n", mtime=0)[:-12],
                "gz: ",
            ),
            ("w.smtx", b"", "rows, columns and entries, not ''"),
            ("w.smtx", b"2, 2\n0 0 0\n\n", "rows, columns and entries, not '2, 2'"),
            ("w.smtx", b"2, x, 2\n0 0 0\n\n", "line 1 must hold integers, but has 'x'"),
            ("w.smtx", b"2, 2, 1\n0 1 1\n0.5\n", "line 3 must hold integers, but has '0.5'"),
            ("w.smtx", b"2, 2, 2\n0 1 2\n0\n", "promises 2 entries, but line 3 has 1"),
            ("w.smtx", b"2, 2, 1\n0 1\n0\n", "must have 3 row pointers, not 2"),
            ("w.smtx", b"2, 2, 1\n0 2 1\n0\n", "pointer 2 is 1 after 2"),
            ("w.smtx", b"2, 2, 1\n0 1 1\n2\n", "entry 0 has 2"),
            ("w.smtx", b"-2, 2, 1\n0 1 1\n2\n", "rows, not -2"),
            ("w.smtx", b"2, 2, 1\n0 1 1\n0\nmore\n", "line 4 is 'more'"),
            ("w.smtx", b"2, 2, 99999999999999999999\n0 1 1\n0\n", "but has '99999999999999999999'"),
            ("w.smtx", b"\xff\xfe\n", "w.smtx: "),
            ("w.smtx.gz", b"2, 2, 1\n", "w.smtx.gz: "),
            ("w.smtx.gz", gzip.compress(SMTX.encode(), mtime=0)[:-9], "w.smtx.gz: "),
            ("w.npz", b"", "w.npz: "),
            ("w.npz", b"PK\x03\x04 not really", "w.npz: "),
        ],
    )
    def test_broken_files(self, tmp_path, name, content, message):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            read_matrix(path, format="bf16")
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"a": np.zeros((2, 2)), "b": np.zeros((2, 2))}, r"it holds a \(2, 2\), b \(2, 2\)"),
            ({"a": np.zeros(3)}, "one two-dimensional array"),
            ({}, "it holds nothing"),
            ({"a": np.array([["x"]])}, "w.npz: "),
            ({"a": np.array([[np.inf]])}, "number 0 is inf"),
            ({"a": np.array([[object()]])}, "w.npz: "),
            ({"indptr": [0, 2, 1], "indices": [0], "data": [1.0], "shape": (2, 2)}, "pointer 2 is 1 after 2"),
            ({"indptr": [0, 1], "indices": [7], "data": [1.0], "shape": (1, 2)}, "entry 0 has 7"),
            ({"indptr": [0, 1], "indices": [0], "data": [1.0, 2.0], "shape": (1, 2)}, "values must be 1 numbers"),
            ({"indptr": [0, 1], "indices": [0], "data": [1.0], "shape": (1, 2, 3)}, r"two integers, not \[1, 2, 3\]"),
            ({"indptr": [0, 1], "indices": [0], "data": [1.0], "shape": (1, 2), "format": "csr"}, None),
            ({"format": "csr"}, "w.npz: "),
            ({"format": "nonsense", "shape": (1, 1)}, "w.npz: "),
        ],
    )
    def test_broken_archives(self, tmp_path, arrays, message):
        path = tmp_path / "w.npz"
        np.savez(path, **arrays)
        if message is None:
            assert read_matrix(path, format="bf16").entries == 1
            return
        with pytest.raises(ValueError, match=message) as caught:
            read_matrix(path, format="bf16")
        assert str(path) in str(caught.value)

    def test_missing(self, tmp_path):
        with pytest.raises(ValueError, match=r"nowhere\.mtx: there is no such file"):
            read_matrix(tmp_path / "nowhere.mtx", format="bf16")
        with pytest.raises(ValueError, match="there is no such file"):
            read_matrix(tmp_path.joinpath("folder.npz"), format="bf16")

    def test_storage_type_is_kept(self, tmp_path):
        values = np.array([[0.1]], dtype=ml_dtypes.bfloat16)
        assert CsrMatrix.from_dense(values.astype(np.float32), format="bf16").values.tobytes() == values.tobytes()
