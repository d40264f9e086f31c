"""Damaged mesh files by the ten thousand, and random bytes under every suffix. Minutes: for `make test-long`."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent))

from test_meshes import damaged, read_or_refuse  # noqa: E402

HEADS = [
    b"",
    b"OFF\n3 1 0\n",
    b"OFF3 1 0\n",
    b"v 0 0 0\n",
    b"ply\nformat ascii 1.0\n",
    b"solid x\n",
]


@settings(max_examples=5_000, deadline=None)
@given(file=damaged())
def test_a_damaged_file_gives_a_whole_mesh_or_the_one_error(tmp_path_factory, file):
    content, suffix = file
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(content)
    read_or_refuse(path)


@pytest.mark.parametrize("suffix", [".off", ".obj", ".ply", ".stl"])
@settings(max_examples=1_000, deadline=None)
@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=300))
def test_random_bytes_give_a_whole_mesh_or_the_one_error(tmp_path_factory, suffix, head, rest):
    path = tmp_path_factory.getbasetemp() / f"random{suffix}"
    path.write_bytes(head + rest)
    read_or_refuse(path)


@pytest.mark.parametrize("suffix", [".off", ".obj", ".ply", ".stl"])
@settings(max_examples=1_000, deadline=None)
@given(rest=st.text(alphabet="0123456789 .-+eEnaif/#\n\tvOFply", max_size=200))
def test_random_numbers_give_a_whole_mesh_or_the_one_error(tmp_path_factory, suffix, rest):
    path = tmp_path_factory.getbasetemp() / f"numbers{suffix}"
    path.write_text({".off": "OFF\n2 1 0\n", ".obj": "v 0 0 0\n"}.get(suffix, "") + rest)
    read_or_refuse(path)
