"""From a notebook to a page: refused before it starts, whole when it is done, kept when it fails."""

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from bwot.publishing import PageError, check_parameters, make_page, publish

PARAMETERS = 'dataset = "mnist"\nlam = 10.0\nseeds = None  # all of them'
FIGURE = """from IPython.display import display
said = {"name": "plan", "alt": f"A heat map for {lam}.", "caption": "The plan."}
display({"image/svg+xml": "<svg/>", "text/plain": "plan"}, raw=True, metadata={"bwot": said})"""


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("BWOT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("BWOT_PROGRESS", "off")  # what make_page sets is put back
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")  # of the kernel
    return tmp_path


def notebook(path, *cells):
    """A notebook with a cell of parameters and the given sources."""
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    book = new_notebook(cells=[parameters, *cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)
    return path


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# ------------------------------------------------------------------------------ before anything starts


@pytest.fixture
def never_executed(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("nothing is to be executed here")

    monkeypatch.setattr(papermill, "execute_notebook", refuse)


def test_an_unknown_parameter_is_refused_with_the_allowed_names(folders, never_executed):
    source = notebook(folders / "images.ipynb")
    message = "images.ipynb has no parameter gamma, lambda_; it has dataset, lam, seeds"
    with pytest.raises(ValueError, match=message):
        make_page(source, folders / "out" / "page.ipynb", {"lam": 5, "lambda_": 5, "gamma": 1})
    assert files(folders) == ["images.ipynb"]


def test_the_parameters_that_there_are_pass(folders):
    check_parameters(notebook(folders / "images.ipynb"), {"lam": 5, "seeds": [1], "dataset": "x"})
    check_parameters(notebook(folders / "images.ipynb"), {})


def test_a_missing_notebook_is_named(folders, never_executed):
    with pytest.raises(FileNotFoundError, match="there is no notebook .*nowhere.ipynb; there are "):
        make_page(folders / "nowhere.ipynb", folders / "page.ipynb", {})
    assert files(folders) == []


@pytest.mark.parametrize("kind", ["Images", "Shapes", "Sketches"])
def test_the_title_of_a_page_names_its_data_set(kind):
    page = new_notebook(cells=[new_markdown_cell(f"# {kind}: a, b")])
    title = publish(page, "try-shrec13-15").cells[0].source
    assert title == "# Try it: SHREC'13, 15-class subset: a, b"


# ------------------------------------------------------------------------------ executed


def test_a_page_is_executed_with_its_parameters_and_labelled(folders):
    source = notebook(
        folders / "in" / "images.ipynb",
        new_markdown_cell("{numref}`plan` shows it, {numref}`elsewhere` and {cite}`plan` do not."),
        new_code_cell(FIGURE),
        new_code_cell("import os\nprint(os.environ['BWOT_PROGRESS'], lam, os.getcwd())"),
    )
    before = source.read_bytes()
    output = folders / "out" / "mnist.ipynb"
    make_page(source, output, {"lam": 5})
    assert files(folders) == ["in/images.ipynb", "out/mnist.ipynb"]
    assert source.read_bytes() == before
    page = nbformat.read(output, as_version=4)
    nbformat.validate(page)
    text, figure, printed = page.cells[-3:]
    assert text.source == "{numref}`mnist-plan` shows it, {numref}`elsewhere` and {cite}`plan` do not."  # fmt: skip
    assert figure.metadata["mystnb"] == {
        "image": {"alt": "A heat map for 5.", "classes": "dark-light"},
        "figure": {"name": "mnist-plan", "caption": "The plan."},
    }
    assert "bwot" not in figure.outputs[0].metadata
    assert printed.outputs[0].text == f"off 5 {folders / 'in'}\n"
    assert "papermill" not in page.metadata and 0 < page.metadata["bwot"]["seconds"] < 600
    assert all(not {"papermill", "execution"} & cell.metadata.keys() for cell in page.cells)


def test_a_failing_cell_is_named_and_the_older_page_stays(folders):
    source = notebook(
        folders / "images.ipynb", new_code_cell("print('so far')"), new_code_cell("1 / (lam - 5)")
    )
    output = folders / "out" / "mnist.ipynb"
    output.parent.mkdir()
    output.write_text("the older page")
    with pytest.raises(PageError) as caught:
        make_page(source, output, {"lam": 5})
    kept = folders / "runs" / "logs" / "mnist.failed.ipynb"
    message = str(caught.value)
    assert "images.ipynb" in message and str(kept) in message
    assert "cell In [4] raised ZeroDivisionError: division by zero" in message
    assert kept.with_suffix(".txt").read_text() == message + "\n"
    failed = nbformat.read(kept, as_version=4)
    (cell,) = (cell for cell in failed.cells if cell.get("execution_count") == 4)
    assert cell.source == "1 / (lam - 5)"
    assert any("so far" in o.get("text", "") for cell in failed.cells for o in cell.get("outputs", []))  # fmt: skip
    assert output.read_text() == "the older page"
    assert files(folders) == ["images.ipynb", "out/mnist.ipynb",
                              "runs/logs/mnist.failed.ipynb", "runs/logs/mnist.failed.txt"]  # fmt: skip


def fake_execution(result):
    def execute(source, partial, parameters, **options):
        nbformat.write(nbformat.read(source, as_version=4), partial)
        if result:
            raise result

    return execute


def test_a_kernel_that_dies_is_named_and_the_notebook_kept(folders, monkeypatch):
    from nbclient.exceptions import DeadKernelError

    died = fake_execution(DeadKernelError("Kernel died"))
    monkeypatch.setattr(papermill, "execute_notebook", died)
    with pytest.raises(PageError, match="images.ipynb: the kernel died"):
        make_page(notebook(folders / "images.ipynb"), folders / "out" / "mnist.ipynb", {})
    assert files(folders) == ["images.ipynb", "runs/logs/mnist.failed.ipynb", "runs/logs/mnist.failed.txt"]  # fmt: skip


def test_what_an_earlier_failure_left_goes_with_the_next_success(folders, monkeypatch):
    logs = folders / "runs" / "logs"
    logs.mkdir(parents=True)
    for name in ("mnist.failed.ipynb", "mnist.failed.txt", "other.failed.txt"):
        (logs / name).write_text("earlier")
    monkeypatch.setattr(papermill, "execute_notebook", fake_execution(None))
    make_page(notebook(folders / "images.ipynb"), folders / "mnist.ipynb", {})
    assert files(folders) == ["images.ipynb", "mnist.ipynb", "runs/logs/other.failed.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("No space left on device")])
def test_nothing_is_left_where_the_execution_is_broken_off(folders, monkeypatch, error):
    monkeypatch.setattr(papermill, "execute_notebook", fake_execution(error))
    with pytest.raises(type(error)):
        make_page(notebook(folders / "images.ipynb"), folders / "out" / "mnist.ipynb", {})
    assert files(folders) == ["images.ipynb"]


# ------------------------------------------------------------------------------ labels


def shown(*names):
    """A page with a cell for each figure, and one that refers to them."""
    cells = [
        new_code_cell(
            outputs=[
                new_output(
                    "display_data",
                    {"text/plain": "picture"},
                    metadata={"bwot": {"name": name, "alt": f"alt {name}", "caption": f"caption {name}"}},
                )
            ]
        )
        for name in names
    ]  # fmt: skip
    refs = " ".join(f"{{numref}}`{name}`" for name in (*names, "plan-after-all"))
    return new_notebook(cells=[*cells, new_markdown_cell(refs)])


def test_each_figure_has_its_own_label_and_words():
    page = publish(shown("plan", "plan-after"), "mnist")
    found = [cell.metadata["mystnb"] for cell in page.cells[:2]]
    assert [each["figure"]["name"] for each in found] == ["mnist-plan", "mnist-plan-after"]
    assert [each["image"]["alt"] for each in found] == ["alt plan", "alt plan-after"]
    assert page.cells[2].source == (
        "{numref}`mnist-plan` {numref}`mnist-plan-after` {numref}`plan-after-all`"
    )


def test_two_pages_of_one_notebook_share_no_label():
    labels = [
        publish(shown("plan"), name).cells[0].metadata["mystnb"]["figure"]["name"]
        for name in ("mnist", "cifar10")
    ]
    assert len(set(labels)) == 2
