"""Pickled originals become safetensors; what is more than arrays is refused, and never runs."""

import builtins
import json
import os
import pickle
import struct
import sys
import tracemalloc
import types
import zipfile
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from infra import weights
from infra.errors import WeightsError
from infra.weights import convert, frozen
from tests.weights_registry import Registry, own_registry

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.numpy")

SPARSE = np.array([[0.0, 1.5, 0.0], [2.5, 0.0, 0.0]])


@pytest.fixture
def registry(tmp_path):
    with own_registry(tmp_path) as registry:
        yield registry


@pytest.fixture(scope="module")
def chumpy():
    """A chumpy that can be pickled, for the real one no longer runs."""
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (), {"__module__": "chumpy.ch"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
        patch.setitem(sys.modules, "chumpy.ch", module)

        def make(array):
            made = module.Ch()
            made.__dict__.update(x=array, _dirty_vars={"x"}, _depends_on_deps={})
            return made

        yield make


def read(data: bytes, folder: Path, name: str = "w.pkl") -> dict[str, np.ndarray]:
    (folder / name).write_bytes(data)
    return frozen.read_arrays(folder / name)


def npy(value: object) -> bytes:
    stream = BytesIO()
    np.save(stream, np.array(value, dtype=object), allow_pickle=True)
    return stream.getvalue()


def checkpoint(value: object) -> bytes:
    stream = BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


# Arrays out of pickles.


@pytest.mark.parametrize("protocol", range(6))
def test_a_flame_like_pickle_gives_its_arrays(protocol, tmp_path, chumpy):
    model = {
        "f": np.arange(6, dtype=np.uint32).reshape(2, 3),
        "v_template": chumpy(np.arange(6.0).reshape(2, 3)),
        "shapedirs": chumpy(chumpy(np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)))),
        "J_regressor": scipy.sparse.csc_matrix(SPARSE),
        "rows": scipy.sparse.csr_matrix(SPARSE),
        "bs_style": "lbs",
        "face": [3, 1, np.int64(2)],
        "names": ["a", "b"],
        "scale": np.float64(2.0),
        "words": np.array(["left", "out"]),
        "nothing": None,
    }
    found = read(pickle.dumps(model, protocol), tmp_path)
    assert found.keys() == model.keys() - {"bs_style", "names", "words", "nothing"}
    np.testing.assert_array_equal(found["f"], model["f"], strict=True)
    np.testing.assert_array_equal(found["v_template"], np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(found["shapedirs"], np.arange(24.0).reshape(2, 3, 4))
    np.testing.assert_array_equal(found["J_regressor"], SPARSE)
    np.testing.assert_array_equal(found["rows"], SPARSE)
    np.testing.assert_array_equal(found["face"], [3, 1, 2])
    assert found["scale"] == 2.0


def test_a_pickle_of_python_2_gives_its_arrays(tmp_path):
    data = (
        b"(dS'w'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"S'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\xc0'\ntbs."
    )
    np.testing.assert_array_equal(read(data, tmp_path)["w"], [1.0, -2.0])


def test_an_npy_file_gives_its_arrays_and_tensors(tmp_path):
    value = {"lmk": torch.arange(12).reshape(3, 4).T[1:], "bary": np.eye(3), "ids": [1, 2]}
    found = read(npy(value), tmp_path, "e.npy")
    np.testing.assert_array_equal(found["lmk"], value["lmk"].numpy(), strict=True)
    np.testing.assert_array_equal(found["bary"], np.eye(3))
    np.testing.assert_array_equal(found["ids"], [1, 2])


NUMBERS = st.one_of(
    arrays_of.integer_dtypes(endianness="?"),
    arrays_of.unsigned_integer_dtypes(endianness="?"),
    arrays_of.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    arrays_of.boolean_dtypes(),
)


@given(
    array=arrays_of.arrays(NUMBERS, arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4)),
    fortran=st.booleans(),
    protocol=st.integers(0, 5),
)
def test_arrays_of_any_type_shape_and_order_come_through(
    array, fortran, protocol, tmp_path_factory
):
    given_array = np.asfortranarray(array) if fortran and array.ndim else array
    folder = tmp_path_factory.mktemp("arrays")
    found = read(pickle.dumps({"x": given_array}, protocol), folder)["x"]
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


@given(where=st.integers(0, 10_000), byte=st.integers(0, 255), protocol=st.integers(0, 5))
def test_a_pickle_with_a_wrong_byte_ends_in_arrays_or_an_error(
    where, byte, protocol, tmp_path_factory
):
    data = bytearray(
        pickle.dumps({"a": np.eye(2), "s": scipy.sparse.csc_matrix(SPARSE), "l": [1]}, protocol)
    )
    data[where % len(data)] = byte
    try:
        found = read(bytes(data), tmp_path_factory.mktemp("wrong"))
    except WeightsError:
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())


# What must not run.


class Evil:
    """Asks to be built by a function of its choice."""

    def __init__(self, call: object, *args: object) -> None:
        self.call = call, args

    def __reduce__(self) -> tuple:
        return self.call


EVIL = {
    "posix.system": lambda mark: Evil(os.system, f"touch {mark}"),
    "builtins.eval": lambda mark: Evil(builtins.eval, f"open({str(mark)!r}, 'w')"),
    "builtins.getattr": lambda mark: Evil(getattr, "text", "upper"),
    "numpy.load": lambda mark: Evil(np.load, str(mark)),
    "functools.partial": lambda mark: partial(os.system, f"touch {mark}"),
}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize(
    "write",
    [partial(pickle.dumps, protocol=p) for p in (0, 2, 4)] + [npy],
    ids=["0", "2", "4", "npy"],
)
def test_a_global_that_is_no_part_of_an_array_is_refused_by_name(name, write, tmp_path):
    mark = tmp_path / "ran"
    data = write({"w": np.eye(2), "x": EVIL[name](mark)})
    word = name.rpartition(".")[2]
    with pytest.raises(WeightsError, match=rf"asks for \S+\.{word}, .* refused"):
        read(data, tmp_path)
    assert not mark.exists()


GLOBALS = b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"


@pytest.mark.parametrize(
    "body",
    [
        # A subtype of one's own choice for NumPy's reconstruction.
        b"(dS'w'\n" + GLOBALS[0] + b"(cos\nsystem\n(I0\ntS'b'\ntRs.",
        # Setting the attributes of what a global stands for.
        b"(dS'w'\n" + GLOBALS[1] + b"(dS'__reduce__'\nI1\nsbs.",
        b"(dS'w'\n" + GLOBALS[1] + b"(N(dS'__call__'\nI1\nstbs.",
        # Bytes passed off as references to objects.
        b"(dS'w'\n" + GLOBALS[0] + b"(" + GLOBALS[1] + b"(I0\ntS'b'\ntR(I1\n(I1\nt" + GLOBALS[2]
        + b"(S'O8'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntbI00\nS'AAAAAAAA'\ntbs.",
        # More elements than there are bytes.
        b"(dS'w'\n" + GLOBALS[0] + b"(" + GLOBALS[1] + b"(I0\ntS'b'\ntR(I1\n(I9\nt" + GLOBALS[2]
        + b"(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'AAAAAAAA'\ntbs.",
        # An instance, a persistent object, an extension.
        b"(dS'w'\n(S'touch x'\nios\nsystem\ns.",
        b"(dS'w'\nPx\ns.",
        b"(dS'w'\n\x82\x01s.",
    ],
)  # fmt: skip
def test_a_forged_pickle_is_an_error(body, tmp_path):
    with pytest.raises(WeightsError):
        read(body, tmp_path)


CLAIM = 50_000_000


@pytest.mark.parametrize(
    "claim",
    [b"r" + struct.pack("<I", CLAIM), b"\x96" + struct.pack("<Q", CLAIM) + b"0"],
    ids=["memo", "buffer"],
)
def test_a_claim_takes_no_memory(claim, tmp_path):
    tracemalloc.start()
    with pytest.raises(WeightsError):
        read(b"}" + claim + b".", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < CLAIM / 10


class Repeated:
    """Nested lists of ten times themselves: small in a file, endless when written out."""

    def __new__(cls, depth: int = 30) -> list:
        value: list = [0]
        for _ in range(depth):
            value = [value] * 10
        return value


def forged(shape: bytes) -> bytes:
    """A pickled array that claims to have the shape that some pickle's code makes."""
    kind = GLOBALS[2] + b"(U\x02f8I0\nI1\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntb"
    array = GLOBALS[0] + b"(" + GLOBALS[1] + b"(I0\ntU\x01btR(I1\n" + shape + kind + b"I00\nU\x00tb"
    return b"\x80\x02}U\x01w" + array + b"s."


MANY = np.zeros(1 << 16)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"w": Repeated()}),
        forged(b"(" + pickle.dumps(Repeated(), 2)[2:-1] + b"t"),
        forged(b"(" + b"I4611686018427387904\n" * 9 + b"t"),
        pickle.dumps({f"k{number}": MANY for number in range(1100)}),
        pickle.dumps({f"k{n}": scipy.sparse.csr_matrix((1, 1 << 20)) for n in range(65)}),
        pickle.dumps({"t": torch.zeros(1).expand(1 << 28)}),
    ],
    ids=["lists", "shape of lists", "shape", "names", "matrices", "view"],
)
def test_a_small_file_takes_neither_time_nor_memory(data, tmp_path):
    with pytest.raises(WeightsError, match=r"too large|shape that is none|no arrays") as error:
        read(data, tmp_path)
    assert len(error.value.message) < 200


def test_one_object_under_two_names_is_rebuilt_once(tmp_path):
    found = read(pickle.dumps({"a": MANY, "b": MANY}), tmp_path)
    assert found["a"] is found["b"]


def test_a_sparse_matrix_whose_counts_wrap_around_is_an_error(tmp_path):
    matrix = scipy.sparse.csr_matrix((4, 1))
    matrix.indptr = np.array([0, 1 << 62, -(1 << 63), -(1 << 62), 0])
    with pytest.raises(WeightsError, match="an index that is none"):
        read(pickle.dumps({"w": matrix}), tmp_path)


def test_a_files_own_words_are_shown_as_plain_letters(tmp_path, registry):
    asks = b"c\x1b]0;owned\x07\x1b[2Jx\n" + b"y" * 500 + b"\n."
    for data in (asks, pickle.dumps({"\x1b[31mred" + "z" * 500: "text"})):
        with pytest.raises(WeightsError) as error:
            read(data, tmp_path)
        assert error.value.message.isprintable()
        assert len(error.value.message) < 200
    add(registry, "net", checkpoint({"\x1b[31mred": {}}), entry="state_dict")
    with pytest.raises(WeightsError, match=r"its entries are \\x1b\[31mred"):
        weights.pull("net")


@pytest.mark.parametrize("size", [(1 << 13, 1 << 14), (1 << 40, 0)])
def test_a_sparse_matrix_of_absurd_size_is_an_error(size, tmp_path):
    state = {"_shape": size, **{key: np.zeros(1, int) for key in ("data", "indices", "indptr")}}
    matrix = scipy.sparse.csr_matrix(SPARSE)
    matrix.__dict__.clear()
    matrix.__dict__.update(state)
    with pytest.raises(WeightsError, match=r"too large|an index that is none"):
        read(pickle.dumps({"w": matrix}), tmp_path)


@pytest.mark.parametrize("ends", [[0, 1 << 40, 2], [0, 1, 1], [0, 2, 1]])
def test_a_sparse_matrix_that_miscounts_is_an_error(ends, tmp_path):
    matrix = scipy.sparse.csr_matrix(SPARSE)
    matrix.indptr = np.array(ends)
    with pytest.raises(WeightsError, match="a sparse matrix has"):
        read(pickle.dumps({"w": matrix}), tmp_path)


def test_no_package_is_imported_for_a_pickle(tmp_path, monkeypatch):
    data = pickle.dumps({"w": scipy.sparse.csc_matrix(SPARSE)})
    for name in ("scipy", "scipy.sparse", "scipy.sparse._csc", "numpy._core.multiarray"):
        monkeypatch.setitem(sys.modules, name, None)
    np.testing.assert_array_equal(read(data, tmp_path)["w"], SPARSE)


def test_an_index_outside_a_sparse_matrix_is_an_error(tmp_path):
    matrix = scipy.sparse.csc_matrix(SPARSE)
    for index in (-1, 2):
        matrix.indices[0] = index
        with pytest.raises(WeightsError):
            read(pickle.dumps({"w": matrix}), tmp_path)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([1, 2], "no dictionary"),
        ({"a": "text"}, "holds no arrays; its entries are a"),
        ({}, "none"),
    ],
)
def test_a_pickle_without_arrays_is_an_error(value, match, tmp_path):
    with pytest.raises(WeightsError, match=match):
        read(pickle.dumps(value), tmp_path)


# Through the registry: converted once, never by a worker.


def add(registry: Registry, name: str, data: bytes, how: str = "torch", **more: object) -> Path:
    suffix = ".pth" if how == "torch" else ".pkl"
    registry.add(
        name, 'register = "https://example.org"', file=f"{name}{suffix}", convert=how, **more
    )
    path = registry.own / f"{name}{suffix}"
    path.write_bytes(data)
    return path


def test_the_tensors_of_an_entry_are_kept_by_their_keys(registry):
    state = {"a.weight": torch.eye(2), "b": torch.arange(3), "epoch": 3}
    add(registry, "net", checkpoint({"state_dict": state, "opt": {}}), entry="state_dict")
    weights.prepare(["net"])
    path = weights.weight_path("net")
    found = safetensors.load_file(path)
    assert path.suffix == ".safetensors"
    assert found.keys() == {"a.weight", "b"}
    np.testing.assert_array_equal(found["a.weight"], np.eye(2))


def test_of_several_entries_the_first_that_is_there_is_kept(registry):
    for there, wanted in (("ac", 1), ("bc", 2), ("ab", 1)):
        entries = {name: {"w": torch.full((2,), place)} for place, name in enumerate("abc", 1)}
        data = checkpoint({name: entries[name] for name in there})
        add(registry, f"net_{there}", data, entry="a|b")
        path = weights.pull(f"net_{there}")
        np.testing.assert_array_equal(safetensors.load_file(path)["w"], [wanted] * 2)
        assert "|" not in path.name


def test_a_checkpoint_of_an_old_torch_is_read(registry):
    stream = BytesIO()
    torch.save({"w": torch.eye(2)}, stream, _use_new_zipfile_serialization=False)
    add(registry, "net", stream.getvalue())
    assert safetensors.load_file(weights.pull("net")).keys() == {"w"}


def test_scores_of_numpy_beside_the_weights_are_left_out(registry):
    scores = (np.float64(0.8), np.float32(0.7), np.eye(2))
    add(
        registry,
        "net",
        checkpoint({"state_dict": {"w": torch.eye(2)}, "validation_results": scores}),
        entry="state_dict",
    )
    assert safetensors.load_file(weights.pull("net")).keys() == {"w"}


def test_tensors_that_share_memory_are_kept_apart(registry):
    shared = torch.arange(6.0)
    add(registry, "net", checkpoint({"a": shared, "b": shared[2:4], "c": shared.reshape(2, 3).T}))
    found = safetensors.load_file(weights.pull("net"))
    np.testing.assert_array_equal(found["b"], [2, 3])
    np.testing.assert_array_equal(found["c"], shared.reshape(2, 3).T)


def test_arrays_are_converted_as_tensors_are(registry):
    add(registry, "flame", pickle.dumps({"f": np.arange(3, dtype=np.uint32)}), "arrays")
    found = safetensors.load_file(weights.pull("flame"))
    np.testing.assert_array_equal(found["f"], np.arange(3, dtype=np.uint32), strict=True)


def test_an_absent_entry_is_an_error_that_names_those_there(registry):
    add(
        registry,
        "net",
        checkpoint({"weight": torch.eye(2), "bias": torch.ones(2)}),
        entry="E_flame",
    )
    with pytest.raises(WeightsError, match="no entry 'E_flame'; its entries are weight, bias"):
        weights.prepare(["net"])
    add(registry, "other", checkpoint({"c": {"w": torch.eye(2)}}), entry="a|b")
    with pytest.raises(WeightsError, match="no entry 'a' or 'b'; its entries are c"):
        weights.pull("other")


@pytest.mark.parametrize(
    "data",
    [
        checkpoint({"w": torch.arange(100.0)})[:-200],
        b"not a checkpoint",
        b"<!doctype html>",
        b"",
        checkpoint([torch.eye(2)]),
        checkpoint({"epoch": 3}),
    ],
    ids=["truncated", "other", "page", "empty", "list", "no tensors"],
)
def test_a_bad_checkpoint_is_an_error_and_nothing_is_kept(registry, data):
    path = add(registry, "net", data)
    for ask in (weights.pull, lambda name: weights.prepare([name])):
        with pytest.raises(WeightsError):
            ask("net")
    with pytest.raises(WeightsError):
        weights.pull("net", path=path)
    assert registry.kept() == []


@pytest.mark.parametrize("name", ["posix.system", "builtins.eval"])
def test_a_malicious_checkpoint_is_refused_and_nothing_is_kept(registry, name):
    mark = registry.own / "ran"
    path = add(registry, "net", checkpoint({"w": torch.eye(2), "x": EVIL[name](mark)}))
    with pytest.raises(WeightsError, match=r"asks for \S+, .* refused") as error:
        weights.pull("net", path=path)
    assert "weights_only" not in str(error.value)
    assert not mark.exists()
    assert registry.kept() == []


ODD = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "meta": lambda: torch.empty(4, device="meta"),
    "quantised": lambda: torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.quint8),
    "complex": lambda: torch.zeros(3, dtype=torch.complex128),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "endless": lambda: torch.zeros(1).expand(1 << 40),
    "expanded": lambda: torch.zeros(1).expand(1 << 28),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_tensor_is_an_error_and_nothing_is_kept(registry, kind):
    add(registry, "net", checkpoint({"w": ODD[kind]()}))
    with pytest.raises(WeightsError, match=r"no dense tensor|larger than itself"):
        weights.pull("net")
    assert registry.kept() == []


@pytest.mark.parametrize("key", ["__metadata__", "w\ud800"])
def test_a_key_that_cannot_be_loaded_again_is_an_error(registry, key):
    add(registry, "net", checkpoint({key: torch.ones(1), "b": torch.ones(1)}))
    with pytest.raises(WeightsError, match="cannot be kept as safetensors"):
        weights.pull("net")
    assert registry.kept() == []


def test_a_checkpoint_that_inflates_is_refused_before_it_is_read(registry, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    whole = BytesIO(checkpoint({"w": torch.zeros(1 << 20)}))
    packed = BytesIO()
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name), zipfile.ZIP_DEFLATED)
    for name, data in (
        ("packed", packed.getvalue()),
        ("number", pickle.dumps({"w": bytearray(8)}, 2)),
    ):
        add(registry, name, data)
        with pytest.raises(WeightsError, match="refused, unread"):
            weights.pull(name)


def test_weights_of_another_architecture_are_not_pinned_in_the_place_of_the_right_ones(registry):
    signature = convert.signature_of({"w": (2, 2)})
    path = add(registry, "net", checkpoint({"w": torch.ones(2, 3)}), signature=signature)
    for ask in (weights.pull, lambda name: weights.prepare([name])):
        with pytest.raises(WeightsError, match="not the weight net: its 1 tensors have other"):
            ask("net")
    assert registry.kept() == []
    path.write_bytes(checkpoint({"w": torch.eye(2)}))
    weights.pull("net")


def test_a_file_that_is_refused_is_called_by_its_own_name(registry, tmp_path):
    add(registry, "net", b"", signature="0" * 16).unlink()
    given = tmp_path / "downloaded.pth"
    given.write_bytes(checkpoint({"w": torch.ones(2, 3)}))
    with pytest.raises(WeightsError, match=r"downloaded\.pth is not the weight net") as raised:
        weights.pull("net", path=given)
    assert ".tmp" not in raised.value.message


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"f": np.zeros((2, 3))}, "it lacks face"),
        ({"f": np.zeros((2, 4)), "face": np.zeros(5)}, "its f has another shape"),
        ({"f": np.zeros((2, 3)), "face": np.zeros((5, 1))}, "its face has another shape"),
    ],
)
def test_arrays_of_another_form_are_not_kept(registry, arrays, match):
    path = add(registry, "flame", pickle.dumps(arrays), "arrays")
    forms = "shapes = { f = [2, 3], face = [0] }\n"
    registry.path.write_text(registry.path.read_text() + forms)
    with pytest.raises(WeightsError, match=match):
        weights.pull("flame")
    assert registry.kept() == []
    path.write_bytes(pickle.dumps({"f": np.zeros((2, 3)), "face": np.zeros(7), "more": np.eye(1)}))
    weights.pull("flame")


def test_the_registry_tells_checkpoints_by_the_shapes_of_the_published_one():
    golden = Path(__file__).parent / "golden"
    deca = json.loads((golden / "deca_encoder.json").read_text())["state_dict_keys"]
    shapes = {"deca": {key: tuple(shape) for key, shape, _ in deca}}
    adapter = json.loads((golden / "adapters.json").read_text())["state_dict_keys"]
    for name in ("light", "ref", "head"):
        shapes[f"lcvd_{name}_embedder"] = {key: tuple(shape) for key, shape in adapter}
    for name, file in {
        "fastervqa": "fastervqa_keys.json",
        "u2net_human_seg_torch": "u2net_keys.json",
        "u2netp_torch": "u2netp_keys.json",
        "arcface_r50_torch": "arcface_r50_keys.json",
        "arcface_r100_torch": "arcface_r100_keys.json",
        "lcvd_unet": "lcvd_unet_keys.json",
    }.items():
        keys = json.loads((golden / file).read_text())
        shapes[name] = {key: tuple(shape) for key, (shape, _) in keys.items()}
    # Networks of metrics and methods have theirs compared beside their other tests.
    known = weights.registry()
    assert {name: convert.signature_of(each) for name, each in shapes.items()} == {
        name: known[name].signature for name in shapes
    }


def test_what_is_read_out_of_a_file_is_part_of_its_identity(registry, monkeypatch):
    path = add(registry, "net", checkpoint({"a": {"w": torch.eye(2)}}), entry="a")
    registry.add("same", file=path.name, convert="torch", entry="b")
    registry.add("plain")
    (registry.own / "plain.bin").write_bytes(b"one")
    assert weights.identity("plain") == weights.weight_digest("plain")
    assert weights.identity("net").startswith(weights.weight_digest("net"))
    found = {weights.identity("net"), weights.identity("same")}
    monkeypatch.setattr(convert, "VERSION", convert.VERSION + 1)
    assert len(found | {weights.identity("net"), weights.identity("same")}) == 4


def test_a_worker_does_not_convert(registry, monkeypatch):
    add(registry, "net", checkpoint({"w": torch.eye(2)}))
    with pytest.raises(WeightsError, match="not converted yet") as error:
        weights.weight_path("net")
    assert error.value.hint == "limelight weights pull net"
    ready = weights.pull("net")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpickled"))
    monkeypatch.setattr(convert, "_checked", set())
    assert weights.weight_path("net") == ready


def test_a_new_original_is_converted_anew(registry):
    path = add(registry, "net", checkpoint({"w": torch.eye(2)}))
    weights.prepare(["net"])
    before = weights.weight_digest("net"), weights.weight_path("net")
    path.write_bytes(checkpoint({"w": torch.ones(3)}))
    weights.pull("net", path=path, replace=True)
    assert weights.weight_digest("net") != before[0]
    np.testing.assert_array_equal(safetensors.load_file(weights.weight_path("net"))["w"], [1, 1, 1])


def test_once_converted_the_original_may_go(registry):
    path = add(registry, "net", checkpoint({"w": torch.eye(2)}))
    weights.prepare(["net"])
    path.unlink()
    weights.prepare(["net"])
    assert safetensors.load_file(weights.weight_path("net"))["w"].shape == (2, 2)


def test_a_damaged_conversion_is_noticed_and_mended(registry, monkeypatch):
    add(registry, "net", checkpoint({"w": torch.eye(2)}))
    ready = weights.pull("net")
    ready.write_bytes(ready.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(convert, "_checked", set())
    assert weights.verify("net").state == "damaged"
    with pytest.raises(WeightsError, match="damaged"):
        weights.weight_path("net")
    weights.prepare(["net"])
    np.testing.assert_array_equal(safetensors.load_file(weights.weight_path("net"))["w"], np.eye(2))


def test_a_damaged_conversion_without_its_original_is_noticed(registry, monkeypatch):
    path = add(registry, "net", checkpoint({"w": torch.eye(2)}))
    ready = weights.pull("net")
    path.unlink()
    ready.write_bytes(ready.read_bytes()[:-1] + b"x")
    found = weights.verify("net")
    assert (found.state, found.path) == ("damaged", ready)
    monkeypatch.setattr(convert, "_checked", set())
    assert weights.standing("net").state == "damaged"


def test_a_missing_package_is_told_before_anything_is_fetched(registry, monkeypatch):
    registry.add("net", 'url = "http://127.0.0.1:9/net.pth"', file="net.pth", convert="torch")
    monkeypatch.setattr(convert, "find_spec", lambda n: None if n == "torch" else find_spec(n))
    with pytest.raises(WeightsError, match="torch, not installed") as error:
        weights.pull("net")
    assert "limelight[models]" in error.value.hint
