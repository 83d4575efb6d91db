from pathlib import Path
from zipfile import ZipFile

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from infra.errors import UsageError, WeightsError
from stages.models.arcface import iresnet
from stages.models.arcface.align import (
    FIVE_POINTS,
    align_face,
    five_points,
    similarity,
    template,
    warp_face,
)
from stages.models.arcface.embed import ARCFACE, FaceEmbedder, cosine
from stages.models.arcface.iresnet import BLOCKS, IResNet, TorchArcFace
from stages.models.arcface.pack import OnnxArcFace, first_operators
from stages.models.face_landmarker.canonical import CanonicalFace
from stages.models.nets import ready_net
from stages.models.onnx_session import OnnxNet
from tests.rule import blocks, generator, golden_arrays, golden_facts, pattern, rule_state


@pytest.fixture(scope="module")
def arcface() -> dict[str, np.ndarray]:
    return golden_arrays("arcface")


@pytest.fixture(scope="module")
def rule_r50() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return rule_state(IResNet(50).state_dict())


@pytest.fixture(scope="module")
def torch_r50(rule_r50) -> TorchArcFace:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iresnet, "load_state", lambda weight: rule_r50)
        return TorchArcFace("arcface_r50_torch")


# The network.


@pytest.mark.parametrize("layers", [50, 100])
def test_state_dict_is_the_reference_s(layers):
    with torch.device("meta"):
        state = IResNet(layers).state_dict()
    own = {key: [list(value.shape), str(value.dtype)[6:]] for key, value in state.items()}
    assert own == golden_facts(f"arcface_r{layers}_keys")
    assert list(own) == list(golden_facts(f"arcface_r{layers}_keys"))


@pytest.mark.parametrize("layers", list(BLOCKS))
def test_every_depth_has_its_number_of_convolutions(layers):
    """InsightFace counts the stem, two convolutions a block, and the linear layer."""
    with torch.device("meta"):
        net = IResNet(layers)
    deep = sum(".conv" in name for name in dict(net.named_modules()))
    assert deep + 2 == layers


def test_embeddings_are_the_reference_s(torch_r50, arcface):
    raw = torch_r50(arcface["images_uint8"])
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.abs(raw - arcface["emb_raw"]).max() <= 3e-5 * np.abs(arcface["emb_raw"]).max()
    np.testing.assert_allclose(unit, arcface["emb_l2"], rtol=0, atol=5e-6)
    np.testing.assert_allclose(unit, arcface["emb_l2_float64"], rtol=0, atol=5e-6)
    assert cosine(*raw) == pytest.approx(golden_facts("arcface")["cos01"], abs=5e-6)


def test_a_mirrored_face_has_the_reference_s_other_embedding(torch_r50, arcface):
    mirrored = torch_r50(np.ascontiguousarray(arcface["images_uint8"][:, :, ::-1]))
    scale = np.abs(arcface["emb_flip_raw"]).max()
    np.testing.assert_allclose(mirrored, arcface["emb_flip_raw"], rtol=0, atol=3e-5 * scale)


def test_weights_of_another_depth_are_refused(rule_r50):
    with pytest.raises(WeightsError, match="no IResNet: it lacks layer2"):
        ready_net(IResNet(100), rule_r50, name="arcface_r100_torch")


# Alignment.


def test_alignments_are_the_reference_s():
    facts = golden_facts("arcface_align")
    for case in facts.keys() - {"_meta"}:
        points = np.array(facts[case]["landmarks"])
        for size in (int(key[2:]) for key in facts[case] if key.startswith("M_")):
            matrix = similarity(points, template(size))
            np.testing.assert_allclose(matrix, facts[case][f"M_{size}"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", ["plain_112", "plain_224", "rot35_112", "edge_outside_112"])
def test_warped_faces_are_the_reference_s(case):
    drawn = blocks(generator("input:arcface_align"), 0, 256, (20, 20, 3), (24, 24))
    picture = drawn.astype(int) * 3 // 4 + pattern(64, (480, 480, 3))
    name, _, size = case.rpartition("_")
    matrix = np.array(golden_facts("arcface_align")[name][f"M_{size}"])
    face = warp_face(picture.astype(np.uint8), matrix, int(size)).astype(int)
    # The README: one level with exact bilinear weights; OpenCV 5's are.
    assert np.abs(face - golden_arrays("arcface_align")[f"warp_{case}"]).max() <= 1


@pytest.mark.parametrize("size", [0, -112, 100, 120])
def test_a_size_without_a_template_is_refused(size):
    with pytest.raises(ValueError, match=f"multiple of 112 or 128 pixels, not {size}"):
        template(size)


numbers = st.floats(-500, 500)


@settings(max_examples=50)
@given(st.floats(0.05, 20), st.floats(-np.pi, np.pi), numbers, numbers)
def test_a_similarity_is_found_again(scale, angle, x, y):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[c, -s, x], [s, c, y]])
    points = template(112)
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(similarity(points, moved), matrix, atol=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_no_other_similarity_is_nearer(seed):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(2, 5, 2))

    def error(matrix):
        return ((source @ matrix[:, :2].T + matrix[:, 2] - target) ** 2).sum()

    best = similarity(source, target)
    c, s, x, y = rng.normal(0, 0.01, 4)
    assert error(best) <= error(best + np.array([[c, -s, x], [s, c, y]]))


def test_stacks_are_fitted_one_by_one():
    faces = generator("faces").normal(100, 30, (2, 3, 5, 2))
    fitted = similarity(faces, template(112))
    assert fitted.shape == (2, 3, 2, 3)
    np.testing.assert_array_equal(fitted[1, 2], similarity(faces[1, 2], template(112)))


def test_landmarks_land_on_the_template():
    """Dots on the five landmarks of a turned face come out upon the template's points."""
    matrix = np.array([[0.9, 0.5, -40.0], [-0.5, 0.9, 60.0]])
    landmarks = np.zeros((478, 3))
    inverse = np.linalg.inv(matrix[:, :2])
    landmarks[list(FIVE_POINTS), :2] = (template(112) - matrix[:, 2]) @ inverse.T
    picture = np.zeros((200, 200, 3), np.uint8)
    for x, y in np.rint(five_points(landmarks)).astype(int):
        picture[y - 1 : y + 2, x - 1 : x + 2] = 255
    face = align_face(picture, landmarks)
    for x, y in np.rint(template(112)).astype(int):
        assert face[y, x].min() > 128


def test_the_nose_s_tip_is_the_foremost_point_of_the_canonical_face(shared):
    with ZipFile(shared / "weights/face_landmarker_v2_with_blendshapes.task") as bundle:
        metadata = bundle.read("geometry_pipeline_metadata_landmarks.binarypb")
    assert CanonicalFace.parse(metadata).points[:, 2].argmax() == FIVE_POINTS[2]


# Networks of the packs.


def pack_file(path: Path, *, baked: bool, batch: int | str = "N", output: int = 512) -> Path:
    """A net that averages 16x16 pixels and mixes them; ``baked``: normalises by itself."""
    weight = generator("mix").normal(size=(147, output)).astype(np.float32)
    constants = {"mean": np.float32(127.5), "scale": np.float32(1 / 127.5), "mix": weight}
    nodes, last = [], "faces"
    if baked:
        nodes += [
            helper.make_node("Sub", [last, "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "scale"], ["unit"]),
        ]
        last = "unit"
    nodes += [
        helper.make_node("AveragePool", [last], ["means"], kernel_shape=[16] * 2, strides=[16] * 2),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mix"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pack",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, [batch, 3, 112, 112])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.fixture
def as_weight(monkeypatch):
    """Make a file what every weight of the registry is."""

    def put(path: Path) -> None:
        monkeypatch.setattr("stages.models.arcface.pack.weight_path", lambda name: path)

    return put


def test_a_pack_that_normalises_by_itself_is_given_plain_pixels(tmp_path, as_weight):
    faces = generator("faces").integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    embeddings = []
    for baked in (False, True):
        as_weight(pack_file(tmp_path / f"{baked}.onnx", baked=baked))
        embeddings.append(OnnxArcFace("arcface_w600k_r50")(faces))
    assert np.abs(embeddings[0]).max() > 1
    np.testing.assert_allclose(*embeddings, atol=1e-5)


@pytest.mark.parametrize("baked", [False, True])
def test_operators_are_read_in_the_file_s_order(tmp_path, baked):
    path = pack_file(tmp_path / "pack.onnx", baked=baked)
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert first_operators(path, 8) == operators
    assert first_operators(path, 2) == operators[:2]


def test_a_net_of_one_item_at_a_time_takes_any_batch(tmp_path):
    batch = generator("faces").normal(size=(3, 3, 112, 112)).astype(np.float32)
    nets = [
        OnnxNet(pack_file(tmp_path / f"{size}.onnx", baked=False, batch=size), (3, 112, 112))
        for size in (1, "N")
    ]
    (one_by_one,), (at_once,) = (net(batch) for net in nets)
    np.testing.assert_allclose(one_by_one, at_once, atol=1e-5)


def test_files_that_are_not_the_network_meant_are_refused(tmp_path, as_weight):
    item = (3, 112, 112)
    junk = tmp_path / "junk.onnx"
    junk.write_bytes(b"no network at all")
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(pack_file(tmp_path / "whole.onnx", baked=False).read_bytes()[:-1000])
    for path in (junk, cut):
        with pytest.raises(WeightsError, match="is no ONNX network"):
            OnnxNet(path, item)
    whole = tmp_path / "whole.onnx"
    with pytest.raises(WeightsError, match=r"takes tensor\(float\) .*, not .*320"):
        OnnxNet(whole, (3, 320, 320))
    with pytest.raises(WeightsError, match="has 1 outputs, not 7"):
        OnnxNet(whole, item, outputs=7)
    with pytest.raises(WeightsError, match="takes 4 items at once"):
        OnnxNet(pack_file(tmp_path / "four.onnx", baked=False, batch=4), item)
    as_weight(pack_file(tmp_path / "narrow.onnx", baked=False, output=128))
    with pytest.raises(WeightsError, match=r"gives \(1, 128\) for 1 faces"):
        OnnxArcFace("arcface_glintr100")(np.zeros((1, 112, 112, 3), np.uint8))


# The embedder.


@pytest.fixture
def embedder(tmp_path, as_weight) -> FaceEmbedder:
    as_weight(pack_file(tmp_path / "pack.onnx", baked=False))
    return FaceEmbedder(batch=2)


def some_faces(number: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures of several sizes, and landmarks of a face in each."""
    rng = generator("pictures")
    pictures = [blocks(rng, 0, 256, (10 + k, 12, 3), (16, 16)) for k in range(number)]
    landmarks = np.zeros((number, 478, 3))
    landmarks[:, FIVE_POINTS, :2] = template(112) + rng.normal(20, 4, (number, 5, 2))
    return pictures, landmarks


def test_embeddings_are_of_unit_length_whatever_the_batch(embedder):
    pictures, landmarks = some_faces(5)
    together = embedder.embed(pictures, landmarks)
    alone = [embedder.embed(pictures[k : k + 1], landmarks[k : k + 1])[0] for k in range(5)]
    assert together.dtype == np.float32
    assert together.shape == (5, 512)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert embedder.embed([], landmarks[:0]).shape == (0, 512)


def test_a_face_is_itself_wherever_it_is_in_the_picture(embedder):
    (picture, *_), (landmarks, *_) = some_faces(1)
    moved = np.pad(picture, [(7, 0), (31, 0), (0, 0)])
    away = np.add(landmarks, (31, 7, 0))
    first, second = embedder.embed([picture, moved], np.stack([landmarks, away]))
    assert cosine(first, second) > 0.999
    turned = np.ascontiguousarray(np.rot90(picture))  # (x, y) -> (y, W - 1 - x)
    rolled = np.stack([landmarks[:, 1], picture.shape[1] - 1 - landmarks[:, 0]], axis=1)
    (third,) = embedder.embed([turned], rolled[None])
    assert cosine(first, third) > 0.999


def test_pictures_and_landmarks_must_be_of_one_number(embedder):
    pictures, landmarks = some_faces(2)
    with pytest.raises(ValueError, match="2 pictures, but landmarks of 1 faces"):
        embedder.embed(pictures, landmarks[:1])


def test_the_torch_network_embeds_as_the_reference(torch_r50, monkeypatch, arcface):
    """Aligned pictures stay as they are: their landmarks lie on the template."""
    monkeypatch.setattr(iresnet, "TorchArcFace", lambda weight: torch_r50)
    embedder = FaceEmbedder("arcface_r50_torch")
    landmarks = np.zeros((2, 478, 2))
    landmarks[:, FIVE_POINTS] = template(112)
    unit = embedder.embed(arcface["images_uint8"], landmarks)
    np.testing.assert_allclose(unit, arcface["emb_l2"], rtol=0, atol=5e-6)


def test_every_offer_loads():
    for name, offer in ARCFACE.items():
        assert offer.weights == (name,)
        assert callable(offer.load())


def test_a_missing_package_is_told_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr("stages.models.offer.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="OnnxArcFace needs onnxruntime, torch"):
        FaceEmbedder()


vectors = st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(
    lambda values: np.linalg.norm(values) > 1e-3
)


@given(vectors, vectors, st.floats(1e-3, 1e3))
def test_cosine_knows_no_length(first, second, scale):
    a, b = np.array(first), np.array(second)
    assert -1 <= cosine(a, b) <= 1
    assert cosine(a, b) == pytest.approx(float(cosine(b, scale * a)), abs=1e-9)
    assert cosine(a, scale * a) == pytest.approx(1)
    assert cosine(a, -a) == pytest.approx(-1)
