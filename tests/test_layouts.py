import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.layouts import LAYOUTS, read_identity
from infra.errors import UsageError


@pytest.mark.parametrize(
    ("layout", "stem", "identity"),
    [
        ("vfhq", "Clip+_HZ3sHOwVbM+P0+C0+F11208-11383", "_HZ3sHOwVbM"),
        ("vfhq", "Clip+a-b_c-d_e-f+P2+C13+F0-9", "a-b_c-d_e-f"),
        ("celebvhq", "M2Ohb0FAaJU_1", "M2Ohb0FAaJU"),
        ("celebvhq", "-0_9v_x3cZ2_12", "-0_9v_x3cZ2"),
        ("hdtf", "WDA_DebbieDingell1_000", "WDA_DebbieDingell"),
        ("hdtf", "WDA_DebbieDingell_012", "WDA_DebbieDingell"),
        ("hdtf", "WRA_MarkMeadows12_003", "WRA_MarkMeadows"),
        ("hdtf", "RD_Radio1_000", "RD_Radio1"),
        ("hdtf", "RD_Radio34_003", "RD_Radio34"),
        ("ffhq", "00017", "00017"),
        ("plain", "any name at all", "any name at all"),
    ],
)
def test_the_identity_is_read_out_of_the_name(layout: str, stem: str, identity: str):
    assert read_identity(stem, layout) == (identity, True)


@pytest.mark.parametrize(
    ("layout", "stem"),
    [
        ("vfhq", "Clip+short+P0+C0+F1-2"),
        ("celebvhq", "M2Ohb0FAaJU"),
        ("hdtf", "DebbieDingell1_000"),
        ("ffhq", "17"),
    ],
)
def test_a_name_that_does_not_follow_the_layout_is_its_own_identity(layout: str, stem: str):
    assert read_identity(stem, layout) == (stem, False)


@given(st.text(), st.sampled_from(LAYOUTS))
def test_any_name_has_an_identity(stem: str, layout: str):
    identity, follows = read_identity(stem, layout)
    assert identity in stem
    assert follows or identity == stem


@given(st.from_regex(r"[A-Za-z0-9_-]{11}", fullmatch=True), st.integers(0, 10**6))
def test_every_clip_of_a_youtube_video_has_its_identity(video: str, number: int):
    assert read_identity(f"{video}_{number}", "celebvhq") == (video, True)
    assert read_identity(f"Clip+{video}+P0+C{number}+F{number}-9", "vfhq") == (video, True)


def test_an_unknown_layout_is_refused_by_name():
    with pytest.raises(UsageError, match=r"'vfhp'.*vfhq, celebvhq"):
        read_identity("x", "vfhp")
