"""Records: whole or not there, and nothing in them that the schema does not know."""

import copy
import dataclasses
import errno
import json
import math
import os
import platform
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bwot.records import (
    SCHEMA_FILE,
    Record,
    RecordError,
    pack,
    read_record,
    unpack,
    validate,
    write_atomically,
    write_record,
)

SCHEMA = json.loads(SCHEMA_FILE.read_text())


def planted(record, path, value):
    """The record with ``value`` at a path of names and indices; the value ``...`` removes what is there."""
    content = copy.deepcopy(asdict(record))
    *parents, last = path
    place = content
    for step in parents:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return content


def test_the_schema_is_one_and_names_the_fields_of_the_record():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    names = {field.name for field in dataclasses.fields(Record)}
    assert set(SCHEMA["properties"]) == set(SCHEMA["required"]) == names


@pytest.mark.parametrize("diverged", [None, "epoch 2, step 7"])
def test_a_record_comes_back_as_it_was_written(make_record, tmp_path, diverged):
    record = make_record(diverged=diverged)
    validate(record)
    write_record(record, tmp_path / "new" / "folder" / "record.json")
    assert read_record(tmp_path / "new" / "folder" / "record.json") == record


def test_a_diverged_run_that_never_finished_an_epoch_is_valid(make_record):
    validate(make_record(values=(0.1,), diverged="epoch 1, step 1"))


@pytest.mark.parametrize(
    "path, value",
    [
        (("scores",), None),
        (("per_query_ap",), None),
        (("diverged",), "epoch 1, step 1"),
        (("status",), "running"),
        (("status",), "diverged"),
        (("schema",), 2),
        (("experiment",), "audio"),
        (("seed",), -1),
        (("preset",), "fast"),
        (("dataset", "sha256"), "0" * 63),
        (("dataset", "variant"), ""),
        (("dataset", "official"), ...),
        (("dataset", "colour"), "red"),
        (("dataset", "sizes", "test"), ...),
        (("loss", "name"), "mystery"),
        (("loss", "margin"), 0),
        (("scores", "map"), 1.2),
        (("scores", "map"), ...),
        (("scores", "best"), 0.9),
        (("history", 1, "map"), "0.5"),
        (("history", 1, "map"), ...),
        (("history", 1, "best"), 1.0),
        (("history", 0, "epoch"), -1),
        (("replay",), [1.0] * 21),
        (("provenance", "commit"), ...),
        (("provenance", "host"), "here"),
        (("provenance", "threads"), 0),
    ],
    ids=str,
)
def test_what_the_schema_does_not_know_is_refused(make_record, path, value):
    content = planted(make_record(), path, value)
    with pytest.raises(RecordError, match="of the record"):
        validate(Record(**content))


def test_a_loss_of_the_replay_that_is_no_number_is_refused(make_record):
    record = make_record()
    record.replay[3] = "1.0"  # only now: the check of types looks at one of the twenty, by chance
    with pytest.raises(RecordError, match=r"replay\[3\]"):
        validate(record)


@pytest.mark.parametrize("name", ["scores", "per_query_ap"])
def test_a_diverged_record_has_no_scores(make_record, name):
    record = make_record(diverged="epoch 2, step 7")
    with pytest.raises(RecordError):
        validate(replace(record, **{name: getattr(make_record(), name)}))


def test_the_error_names_the_field(make_record):
    content = planted(make_record(), ("history", 1, "map"), 1.5)
    with pytest.raises(RecordError, match=r"\$\.history\[1\]\.map"):
        validate(Record(**content))


# ------------------------------------------------------------------------------ numbers that are not finite


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "path", [("scores", "map"), ("history", 1, "gradient_ratio"), ("replay", 0)], ids=str
)
def test_a_number_that_is_not_finite_is_not_written(make_record, tmp_path, path, bad):
    content = planted(make_record(), path, bad)
    with pytest.raises(ValueError):
        write_record(Record(**content), tmp_path / "record.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_not_finite_is_not_read(make_record, tmp_path, bad):
    text = json.dumps(planted(make_record(), ("scores", "map"), 0.123456789))
    (tmp_path / "record.json").write_text(text.replace("0.123456789", bad))
    with pytest.raises(RecordError, match=f"record.json.*{bad}"):
        read_record(tmp_path / "record.json")


# ------------------------------------------------------------------------------ files that are no records


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1, 2]", b'"schema"', b"7", b"null", b"{}", b'{"schema": 1}', b'{"schema": 9}',
     b"\xff\xfe", b"PK\x03\x04"],
    ids=repr,
)  # fmt: skip
def test_a_file_that_is_no_record_is_named(tmp_path, content):
    path = tmp_path / "some.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match="some.json"):
        read_record(path)


def test_another_schema_says_what_to_do(make_record, tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(asdict(make_record()) | {"schema": 0}))
    with pytest.raises(RecordError, match="old.json has schema 0, this version reads 1: run it"):
        read_record(tmp_path / "old.json")


@pytest.mark.parametrize("extra", [True, False])
def test_missing_and_unknown_fields_are_named(make_record, tmp_path, extra):
    content = asdict(make_record())
    if extra:
        content["colour"] = "red"
    else:
        del content["replay"]
    (tmp_path / "record.json").write_text(json.dumps(content))
    with pytest.raises(RecordError, match="colour" if extra else "replay"):
        read_record(tmp_path / "record.json")


# ------------------------------------------------------------------------------ whole or not at all


def half_then_full(self, content):
    with self.open("wb") as stream:
        stream.write(content[: len(content) // 2])
    raise OSError(errno.ENOSPC, "No space left on device")


def no_replace(*_):
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(
    "owner, name, failing",
    [(Path, "write_bytes", half_then_full), (os, "replace", no_replace)],
    ids=["full disk", "failing disk"],
)
@pytest.mark.parametrize("existing", [True, False])
def test_a_write_that_fails_leaves_the_old_file(
    make_record, tmp_path, monkeypatch, owner, name, failing, existing
):
    path = tmp_path / "record.json"
    if existing:
        write_record(make_record(seed=1), path)
    with monkeypatch.context() as patched, pytest.raises(OSError, match="cannot be written") as e:
        patched.setattr(owner, name, failing)
        write_record(make_record(seed=2), path)
    assert e.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path] * existing
    assert not existing or read_record(path).seed == 1


def test_a_reader_never_sees_a_part(tmp_path, monkeypatch):
    path, seen = tmp_path / "file", []
    write_atomically(path, b"old")
    replace_ = os.replace
    monkeypatch.setattr(
        os, "replace", lambda *names: (seen.append(path.read_bytes()), replace_(*names))
    )
    write_atomically(path, b"new and longer")
    assert seen == [b"old"] and path.read_bytes() == b"new and longer"


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_process_left_goes_at_the_next_write(tmp_path, dead):
    (tmp_path / f".record.json.{platform.node()}.{dead}.part").write_bytes(b"half of")
    write_atomically(tmp_path / "record.json", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("process", ["1", str(os.getppid()), "x", "9" * 40])
def test_what_others_are_writing_stays(tmp_path, process):
    part = tmp_path / f".record.json.{platform.node()}.{process}.part"
    part.write_bytes(b"half of")
    write_atomically(tmp_path / "record.json", b"whole")
    assert part.read_bytes() == b"half of"


@pytest.mark.parametrize("name, machine", [("other.json", platform.node()), ("record.json", "far")])
def test_the_leftover_of_another_file_or_machine_stays(tmp_path, dead, name, machine):
    part = tmp_path / f".{name}.{machine}.{dead}.part"
    part.write_bytes(b"half of")
    write_atomically(tmp_path / "record.json", b"whole")
    assert part.exists()


def test_two_processes_that_write_one_file_leave_one_of_the_two_whole(tmp_path):
    code = (
        "import sys; from pathlib import Path; from bwot.records import write_atomically\n"
        "for _ in range(300): write_atomically(Path(sys.argv[1]), sys.argv[2].encode() * 50_000)"
    )
    path = tmp_path / "file"
    processes = [subprocess.Popen([sys.executable, "-c", code, path, letter]) for letter in "ab"]
    assert [process.wait() for process in processes] == [0, 0]
    assert path.read_bytes() in (b"a" * 50_000, b"b" * 50_000) and list(tmp_path.iterdir()) == [
        path
    ]


# ------------------------------------------------------------------------------ packed numbers


@given(st.lists(st.floats(0, 1), max_size=50))
def test_packed_values_come_back(values):
    again = unpack(pack(np.array(values)))
    assert again.dtype == np.float64 and np.abs(again - values).max(initial=0) < 0.0003


def test_a_query_with_nothing_to_find_stays_told_apart():
    values = np.array([0.25, math.nan, 1.0])
    assert np.array_equal(unpack(pack(values)), values, equal_nan=True)


@pytest.mark.parametrize("bad", [-0.01, 1.01, math.inf, -math.inf])
def test_a_value_that_is_no_share_is_not_packed(bad):
    with pytest.raises(ValueError, match=f"not {bad}"):
        pack(np.array([0.5, bad]))
