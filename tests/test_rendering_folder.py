"""A folder of shapes to strips: kept, killed and gone on with, broken files, other settings, processes that die."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bwot.rendering import Broken, read_strip, render, render_folder
from bwot.rendering.workers import WorkerDied, in_processes

TETRAHEDRON = "OFF\n4 4 0\n1 1 1\n1 -1 -1\n-1 1 -1\n-1 -1 {z}\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n"
ROOT = Path(__file__).parents[1]
SMALL = {"views": "ring", "size": 32, "processes": 1}


@pytest.fixture
def meshes(tmp_path):
    """Six files, each a little different."""
    paths = [tmp_path / "meshes" / f"m{number}.off" for number in range(6)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        path.write_text(TETRAHEDRON.format(z=1 + number))
    return paths


def names_of(paths):
    return [f"{path.stem[-1]}/{path.stem}" for path in paths]


def strips(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.png"))}  # fmt: skip


@pytest.mark.parametrize("processes", [1, 2])
def test_a_strip_holds_the_views_of_its_mesh(meshes, tmp_path, processes):
    from bwot.meshes import read_mesh

    settings = {"views": "dodecahedron", "size": 48, "style": "drawn", "samples": 1, "up": "y"}
    assert render_folder(meshes, names_of(meshes), tmp_path / "out", processes=processes, **settings) == []  # fmt: skip
    for path, name in zip(meshes, names_of(meshes), strict=True):
        expected = render(read_mesh(path), **settings)
        np.testing.assert_array_equal(read_strip(tmp_path / "out" / f"{name}.png"), expected)


def test_what_is_drawn_is_kept_and_what_changed_is_drawn_again(meshes, tmp_path):
    out = tmp_path / "out"
    render_folder(meshes, names_of(meshes), out, **SMALL)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    whole = strips(out)
    wrong = [out / f"{name}.png" for name in names_of(meshes)]
    wrong[0].unlink()
    wrong[1].write_bytes(wrong[1].read_bytes()[:-20])
    wrong[2].write_bytes(b"")
    os.utime(meshes[3], (time.time() + 60,) * 2)
    assert render_folder(meshes, names_of(meshes), out, **SMALL) == []
    assert strips(out) == whole
    kept = {path for path, when in before.items() if path.stat().st_mtime_ns == when}
    assert kept == set(wrong[4:])


@pytest.mark.parametrize("processes", [1, 2])
def test_broken_files_are_listed_and_the_others_drawn(meshes, tmp_path, processes):
    meshes[1].write_text("OFF\nthis is no shape")
    meshes[4] = tmp_path / "nowhere.off"
    broken = render_folder(meshes, names_of(meshes), tmp_path / "out", **SMALL | {"processes": processes})  # fmt: skip
    assert [each.name for each in broken] == ["1/m1", "e/nowhere"]
    assert all(isinstance(each, Broken) and str(each.path) in each.reason for each in broken)
    assert set(strips(tmp_path / "out")) == {f"{n}/m{n}.png" for n in (0, 2, 3, 5)}


def test_a_shape_that_no_view_shows_is_listed(meshes, tmp_path):
    meshes[2].write_text("OFF\n3 1 0\n0 0 0\n1 1 1\n2 2 2.00001\n3 0 1 2\n")
    (broken,) = render_folder(meshes, names_of(meshes), tmp_path / "out", **SMALL)
    assert broken.path == meshes[2] and "m2.off: the shape is too thin to be seen" in broken.reason
    assert len(strips(tmp_path / "out")) == len(meshes) - 1


def test_other_settings_are_refused_and_both_are_named(meshes, tmp_path):
    render_folder(meshes, names_of(meshes), tmp_path / "out", **SMALL)
    with pytest.raises(
        ValueError, match="(?s)other settings.*wanted.*drawn.*found.*shaded.*another folder"
    ):
        render_folder(meshes, names_of(meshes), tmp_path / "out", style="drawn", **SMALL)
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["style"] == "shaded" and settings["size"] == 32


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", ".", "a\\b", "C:x"])
def test_names_that_leave_the_folder_are_refused(meshes, tmp_path, name):
    with pytest.raises(ValueError, match="names must stay inside the folder"):
        render_folder(meshes[:1], [name], tmp_path / "out", **SMALL)
    assert not (tmp_path / "out").exists()


def test_names_are_one_a_path_and_differ(meshes, tmp_path):
    with pytest.raises(ValueError, match="one a path: 6 paths, 1 names"):
        render_folder(meshes, ["a"], tmp_path, **SMALL)
    with pytest.raises(ValueError, match="'a/b' and 'a//b' are both"):
        render_folder(meshes[:2], ["a/b", "a//b"], tmp_path, **SMALL)


def test_what_is_no_strip_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture at all")
    with pytest.raises(ValueError, match="a.png must be a grey PNG .* not no picture"):
        read_strip(tmp_path / "a.png")


SCRIPT = """
import sys
from pathlib import Path
from bwot.rendering import render_folder

if __name__ == "__main__":
    paths = sorted(Path(sys.argv[1]).glob("*.off"))
    names = [f"{path.stem[-1]}/{path.stem}" for path in paths]
    render_folder(paths, names, sys.argv[2], "ring", 1024, processes=2)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_ends_its_workers_and_goes_on(meshes, tmp_path, how):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(meshes[0].parent), str(tmp_path / "out")]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while not strips(tmp_path / "out") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert 0 < len(strips(tmp_path / "out")) < 6
    for _ in range(200):  # the session has no process left
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("a worker outlived the process that started it")
    early = strips(tmp_path / "out")
    assert render_folder(meshes, names_of(meshes), tmp_path / "out", "ring", 1024, processes=1) == []  # fmt: skip
    late = strips(tmp_path / "out")
    assert len(late) == 6 and early.items() <= late.items()
    assert not list((tmp_path / "out").rglob("*.part")) or how == signal.SIGKILL


def slowly(job):
    if job == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "raises":
        raise KeyError(job)
    return job.upper()


def test_jobs_come_back_once_each():
    jobs = [f"job {number}" for number in range(7)]
    assert sorted(in_processes(slowly, jobs, 2, jobs)) == [job.upper() for job in jobs]
    assert list(in_processes(slowly, [], 0, [])) == []


def test_a_worker_that_dies_is_an_error_that_names_its_job():
    with pytest.raises(WorkerDied, match="'dies' ended by signal 9.*memory"):
        list(in_processes(slowly, ["a", "dies", "b"], 2, ["a", "dies", "b"]))


def test_an_error_in_a_worker_is_raised_here():
    with pytest.raises(KeyError, match="raises"):
        list(in_processes(slowly, ["a", "raises"], 2, ["a", "raises"]))
