"""The built book: links, figures and numbers by its files, then every page in a real browser with the network cut off.

Needs the site (`make book`) in book/_build/html or in the folder that BWOT_SITE names. Without a Chromium the browser
part is skipped aloud, or fails where BWOT_REQUIRE_BROWSER=1.
"""

import base64
import copy
import hashlib
import http.server
import os
import re
import sys
import threading
from functools import cache, partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

PROJECT = Path(__file__).parent.parent
SITE = Path(os.environ.get("BWOT_SITE") or PROJECT / "book/_build/html").resolve()
FILES = sorted(p for p in SITE.rglob("*.html") if "_static" not in p.relative_to(SITE).parts)
ALL = [p.relative_to(SITE).as_posix() for p in FILES] or ["book/index.html"]
PAGES = [name for name in ALL if name.startswith("book/")]
MODULES = [
    ".".join(p.relative_to(PROJECT).with_suffix("").parts)
    for p in sorted((PROJECT / "bwot").rglob("*.py"))
    if not p.name.startswith("__")
]
sys.path.insert(0, str(PROJECT / "book/extension"))
from bwot_book import numbers  # noqa: E402


@pytest.fixture(scope="module")
def site():
    if not (SITE / "book/index.html").exists():
        pytest.fail(f"there is no built book at {SITE}: run `make book` first.")


@cache
def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path):
    return {tag["id"] for tag in soup(path).select("[id]")} | {"", "top"}


def outside(address):
    return urlsplit(address).scheme in ("http", "https", "ws", "wss") or address.startswith("//")


def assets(page):
    """Addresses that a browser loads by itself."""
    for tag in page.select(
        "script[src], img[src], iframe[src], source[src], video[src], embed[src]"
    ):
        yield tag["src"]
    for tag in page.select("link[href], image[href], use[href]"):
        yield tag["href"]
    for tag in page.select("object[data]"):
        yield tag["data"]


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("name", ALL)
def test_links_and_assets_lead_somewhere(site, name):
    path = SITE / name
    page = soup(path)
    links = [tag["href"] for tag in page.select("a[href]") if not outside(tag["href"])]
    broken = []
    for address in [*links, *assets(page)]:
        parts = urlsplit(address)
        if parts.scheme in ("data", "mailto") or outside(address):
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        found = target.is_file() and target.is_relative_to(SITE)
        if not found or (
            target.suffix == ".html" and unquote(parts.fragment) not in anchors(target)
        ):
            broken.append(address)
    assert broken == []


@pytest.mark.parametrize("name", ALL)
def test_a_page_names_no_asset_of_another_host(site, name):
    page = soup(SITE / name)
    inline = [
        s.get_text() for s in page.select("script:not([src])") if "json" not in s.get("type", "")
    ]
    styles = [s.get_text() for s in page.select("style")]
    assert [a for a in assets(page) if outside(a)] == []
    assert [
        text for text in inline + styles if re.search(r"https?://(?!www\.w3\.org/)", text)
    ] == []


def test_no_style_sheet_fetches_from_another_host(site):
    fetch = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//")
    sheets = list((SITE / "_static").rglob("*.css"))
    assert sheets
    assert [str(s) for s in sheets if fetch.search(s.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_is_described_numbered_and_captioned(site, name):
    for image in soup(SITE / name).select("article img"):
        alt, file = image.get("alt", ""), Path(image["src"]).name
        assert len(alt) > 20 and " " in alt.strip() and file not in alt, (
            f"{file} has alt text {alt!r}"
        )
        figure = image.find_parent("figure")
        assert figure, f"{file} stands in no figure"
        assert figure.select_one("figcaption .caption-number"), (
            f"the figure of {file} has no number"
        )
        assert len(figure.select_one("figcaption .caption-text").get_text(strip=True)) > 10


@pytest.mark.parametrize("name", PAGES)
def test_no_markup_is_left_unrendered(site, name):
    article = copy.copy(soup(SITE / name).select_one("article"))
    printed = [output.get_text() for output in article.select(".cell_output pre")]
    assert not re.findall(r"<IPython\S*|<Figure\S*", "\n".join(printed))
    for code in article.select("pre, code, script, .math, dt.sig"):
        code.decompose()
    text = article.get_text()
    assert re.findall(r":::|```|\$\$|\{[a-z:]+\}`|\*\*\w|<IPython|<Figure", text) == []
    assert article.select(".problematic") == []


def test_the_method_has_numbered_formulas(site):
    article = soup(SITE / "book/method.html").select_one("article")
    assert len(article.select(".math")) > 50  # that each is typeset, the browser says below
    assert len(article.select(".eqno")) >= 10


def test_page_titles_differ(site):
    titles = [soup(SITE / name).select_one("h1").get_text() for name in PAGES]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_place_in_the_reference(site, module):
    assert [name for name in PAGES if f"module-{module}" in anchors(SITE / name)], (
        f"{module} is on no page"
    )


def test_shapes_stand_in_the_signatures(site):
    text = soup(SITE / "book/api_loss.html").get_text()
    assert "Float[Tensor, 'n d']" in text and "jaxtyping." not in text


@pytest.mark.parametrize("name", [name for name in PAGES if "api_" in name])
def test_what_a_constant_says_is_not_taken_for_its_type(site, name):
    fields = [tag.get_text(strip=True) for tag in soup(SITE / name).select("dl.field-list dt")]
    assert [field for field in fields if field.startswith("Type")] == []


def test_the_figures_after_training_are_referred_to(site):
    page = soup(SITE / "book/pages/mnist.html")
    for label in ("mnist-plan-after", "mnist-hardest-after"):
        assert page.select_one(f"figure#{label} .caption-number")
        assert page.select_one(f'p a[href="#{label}"]').get_text().startswith("Fig.")


def test_numbers_on_the_first_page_name_their_source_and_lead_to_it(site):
    figures = soup(SITE / "book/index.html").select("abbr.result")
    assert len(figures) > 5
    for figure in figures:
        page, _, anchor = figure.find_parent("a")["href"].partition("#")
        assert page in ("records.html", "scoreboard.html")
        assert soup(SITE / "book" / page).select_one(f"table#{anchor}")
        assert re.match(
            r"book/results/[\w/-]+, loss [\w-]+, seeds \d|authors' repository", figure["title"]
        )


@pytest.mark.parametrize("name", ALL)
def test_no_page_names_a_folder_of_the_machine_that_built_it(site, name):
    folders = {str(SITE.parents[2]), str(PROJECT), str(Path.home())} - {"/"}
    text = (SITE / name).read_text(encoding="utf-8")
    assert [folder for folder in folders if folder + "/" in text or folder + "'" in text] == []


def test_stand_in_pages_carry_a_banner_and_real_ones_do_not(site):
    assert soup(SITE / "book/executed/mnist.html").select("article .admonition.standin")
    assert not soup(SITE / "book/pages/mnist.html").select("article .admonition.standin")


def test_links_to_other_hosts_are_those_of_the_list(site):
    listed = (PROJECT / "book/links.txt").read_text(encoding="utf-8").splitlines()
    listed = {line for line in listed if line and not line.startswith("#")}
    there = {
        tag["href"]
        for name in ALL
        for tag in soup(SITE / name).select("a[href]")
        if outside(tag["href"]) and not tag.find_parent(class_="about-page")  # made of the setting
    }
    assert (there - listed, listed - there) == (set(), set()), "mend book/links.txt: missing, left over"  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_a_page_weighs_at_most_two_megabytes_before_the_vendored_scripts(site, name):
    path = SITE / name
    own = {(path.parent / unquote(urlsplit(a).path)).resolve() for a in assets(soup(path)) if not a.startswith("data:")}  # fmt: skip
    own = {file for file in own if file.suffix != ".html"}  # named as neighbours, not loaded
    shared = [SITE / "_static/vendor", SITE / "_static/scripts", SITE / "_static/styles", SITE / "searchindex.js"]  # fmt: skip
    own = [file for file in own if not any(file.is_relative_to(folder) for folder in shared)]
    assert path.stat().st_size + sum(file.stat().st_size for file in own) <= 2_000_000


@pytest.mark.parametrize("name", [n for n in PAGES if "/pages/" in n or "/executed/" in n])
def test_a_page_of_a_notebook_hands_it_out_and_says_how_long_it_takes(site, name):
    (line,) = soup(SITE / name).select("article .about-page")
    notebook = (SITE / name).parent / line.select_one("a.download")["href"]
    source = PROJECT / "notebooks" / notebook.name
    assert notebook.read_bytes() == source.read_bytes()
    assert re.search(r"\d+ (min|hours)", line.get_text())
    assert (
        (SITE / "_sources" / name).with_suffix(".ipynb").exists()
    )  # as executed, by the theme's button


def test_a_citation_says_what_it_cites_under_the_pointer(site):
    cited = soup(SITE / "book/method.html").select('article a[href^="bibliography.html#"]')
    assert len(cited) > 5 and all(len(tag.get("title", "")) > 40 for tag in cited)


def test_vendored_files_are_the_ones_their_licences_belong_to(site):
    vendor = SITE / "_static/vendor"
    readme = (vendor / "README.txt").read_text(encoding="utf-8")
    files = [*vendor.glob("*.js"), *vendor.glob("*.woff2")]
    assert sorted(f.name for f in files) == [
        "1551f4f60c37af51121f.woff2",
        "embed.js",
        "tex-svg-full.js",
    ]
    for file in files:
        assert hashlib.sha256(file.read_bytes()).hexdigest() in readme
    assert "SIL OFL" in (vendor / "fontawesome.LICENSE.txt").read_text()
    assert "Apache License" in (vendor / "mathjax.LICENSE.txt").read_text()
    assert "Redistribution and use" in (vendor / "jupyter-widgets.LICENSE.txt").read_text()


# ------------------------------------------------------------------------------------------------ numbers in prose


def a_record(seed, score, loss="bwot", **settings):
    return {
        "status": "finished",
        "experiment": "images",
        "dataset": {"name": "mnist"},
        "loss": {"name": loss, "lam": 10.0},
        "preset": "short",
        "settings": {"learning_rate": 0.01, "seed": seed} | settings,
        "seed": seed,
        "history": [{"epoch": 0, "map": 0.1}, {"epoch": 1, "map": score - 0.1}],
        "scores": {"map": score},
    }


def a_diverged_record(seed):
    return a_record(seed, 0.5) | {"status": "diverged", "scores": None}


def said(records, text):
    _, loss, field, options = numbers.parse(text)
    return numbers.describe(numbers.choose(records, loss, options["filters"]), field, options)


THREE = [a_record(0, 0.96), a_record(1, 0.97), a_record(2, 0.98)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mnist/bwot map", "0.970 ± 0.010"),
        ("mnist/bwot map .1% n", "97.0 ± 1.0\N{NO-BREAK SPACE}% (n = 3)"),
        ("mnist/bwot map @1 .2f", "0.87 ± 0.01"),
        ("mnist/bwot runs", "3"),
        ("mnist/bwot settings.learning_rate", "0.01"),
        ("mnist/bwot loss.lam", "10"),
    ],
)
def test_a_number_is_mean_and_spread_over_seeds(text, expected):
    assert said(THREE, text) == expected


def test_a_folder_of_records_may_lie_below_the_data_set():
    dataset, loss, field, _ = numbers.parse("cifar10/tuned/bwot map")
    assert (dataset, loss, field) == ("cifar10/tuned", "bwot", "map")


def test_one_run_has_no_spread_and_says_so():
    assert said(THREE[:1], "mnist/bwot map") == "0.960 (n = 1)"


def test_diverged_runs_are_counted_and_not_averaged():
    assert (
        said([*THREE, a_diverged_record(3)], "mnist/bwot map")
        == "0.970 ± 0.010 (n = 3, 1 of 4 runs diverged)"
    )
    assert said([a_diverged_record(0)], "mnist/bwot map") == "diverged (1 of 1 runs)"


def test_a_filter_chooses_among_unlike_runs():
    records = [*THREE, a_record(0, 0.5, learning_rate=0.1)]
    with pytest.raises(numbers.ResultError, match="differ in settings.*0.01.*0.1"):
        said(records, "mnist/bwot map")
    assert said(records, "mnist/bwot map settings.learning_rate=0.01") == "0.970 ± 0.010"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mnist/triplet map", "no record of loss 'triplet'.*: bwot"),
        ("mnist/bwot mapp", "no 'mapp'.*: map"),
        ("mnist/bwot map @7", r"no epoch 7.*\[0, 1\]"),
        ("mnist/bwot map settings.rate=1", "no 'rate'.*: learning_rate, seed"),
        ("mnist/bwot map settings.learning_rate=7", "no record.*0.01"),
        ("mnist/bwot map weekly", "not 'weekly'"),
        ("mnist map", "expected '<data set>/<loss> <field>"),
    ],
)
def test_what_no_record_holds_is_an_error_that_names_what_there_is(text, message):
    with pytest.raises(numbers.ResultError, match=message):
        said(THREE, text)


def test_two_records_of_one_seed_are_an_error():
    with pytest.raises(numbers.ResultError, match="share a seed"):
        said([*THREE, a_record(2, 0.9)], "mnist/bwot map")


# ------------------------------------------------------------------------------------------------ browser

VIEWS = {"desktop-light": (1400, 1000, "light"), "phone-dark": (390, 844, "dark")}
CONTROLS = {"slider", "textbox", "button", "link", "checkbox", "combobox", "searchbox"}
TYPESET = "async () => { await window.MathJax?.startup?.promise; return !!window.MathJax?.startup }"
CONTRAST = """() => {
  const channel = c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const luminance = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number);
    return .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b) };
  const style = getComputedStyle(document.querySelector('article p'));
  const [low, high] = [luminance(style.color), luminance(getComputedStyle(document.body).backgroundColor)]
    .sort((a, b) => a - b);
  return (high + .05) / (low + .05) }"""


def violations(tab):
    """What axe-core finds on a page: rule, and the first elements."""
    from axe_playwright_python.sync_playwright import Axe

    # To preload would fetch the style sheets, which a browser refuses from disk.
    found = Axe().run(tab, options={"preload": False, "resultTypes": ["violations"]}).response
    return [(rule["id"], [node["html"][:80] for node in rule["nodes"][:3]]) for rule in found["violations"]]  # fmt: skip


@pytest.fixture(scope="module", params=VIEWS)
def visit(request, site, browser):
    """Open a page in one view; what it asked for outside and what went wrong are kept beside it."""
    width, height, theme = VIEWS[request.param]
    context = browser.new_context(viewport={"width": width, "height": height})
    context.add_init_script(
        f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
    )
    tab = context.new_page()
    tab.set_default_timeout(120_000)  # of a busy machine; on an idle one a page takes half a second
    requests, errors = [], []
    context.route(re.compile("^(?!file:|data:|blob:)"), lambda route: route.abort())
    tab.on("request", lambda r: outside(r.url) and requests.append(r.url))
    tab.on("console", lambda m: m.type == "error" and errors.append(m.text))
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("requestfailed", lambda r: errors.append(f"{r.url}: {r.failure}"))

    def open_page(name, query=""):
        requests.clear()
        errors.clear()
        tab.goto((SITE / name).as_uri() + query, wait_until="load")
        tab.evaluate(TYPESET)
        return tab, requests, errors, theme

    yield open_page
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_network_error_or_sideways_scroll(site, visit, name):
    tab, requests, errors, theme = visit(name)
    assert (requests, errors) == ([], [])
    assert tab.evaluate("document.documentElement.dataset.theme") == theme
    assert tab.evaluate(CONTRAST) > 4.5
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"
    assert tab.locator("article img:not([alt])").count() == 0
    assert tab.locator(".math").count() <= tab.locator("mjx-container").count()
    assert tab.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert violations(tab) == []


@pytest.mark.parametrize("name", ["genindex.html", "py-modindex.html", "search.html", "_modules/bwot/experiments/sketches.html"])  # fmt: skip
def test_a_page_that_sphinx_makes_reads_as_well_as_ours(site, visit, name):
    tab, requests, errors, _ = visit(name, "?q=Sinkhorn" * (name == "search.html"))
    if name == "search.html":
        tab.wait_for_function("document.querySelectorAll('#search-results li').length >= 3")
        excerpts = tab.locator("#search-results p.context")
        assert excerpts.count() == 0  # for those it would fetch pages
        assert re.findall(r"[<{`\\$]|&\w+;", tab.locator("#search-results").inner_text()) == []
    assert (requests, errors) == ([], [])
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"
    assert violations(tab) == []


def test_nothing_scrolls_sideways_on_the_smallest_phone_or_enlarged_to_four_times(site, browser):
    tab = browser.new_page(viewport={"width": 320, "height": 568})
    tab.set_default_timeout(120_000)
    wide = []
    for name in ALL:
        if name in PAGES or name in ("genindex.html", "py-modindex.html", "search.html"):
            tab.goto((SITE / name).as_uri(), wait_until="load")
            tab.evaluate(TYPESET)
            if tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wide.append(name)
    tab.close()
    assert wide == []


FRONT = (".front table", "#first-weighting", "#first-convergence", ".doors")


def test_the_first_page_says_it_in_one_screen_of_a_desk(site, browser):
    tab = browser.new_page(viewport={"width": 1400, "height": 900})
    tab.goto((SITE / "book/index.html").as_uri(), wait_until="load")
    for part in FRONT:
        box = tab.locator(part).first.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 900, part
    assert tab.locator(".doors a").count() == 3
    tab.close()


PICTURES = """() => [...document.querySelectorAll('article img.dark-light')].filter(image => image.checkVisibility())
  .map(image => [image.src, image.getBoundingClientRect().width])"""


def letters(address, width):
    """Height in pixels of the smallest words of an SVG that is shown at a width."""
    if address.startswith("data:"):
        text = base64.b64decode(address.partition(",")[2]).decode()
    else:
        text = Path(unquote(urlsplit(address).path)).read_text(encoding="utf-8")
    box = float(re.search(r'viewBox="0 0 ([\d.]+)', text)[1])
    return min(map(float, re.findall(r"font(?:-size)?: ?(?:bold )?([\d.]+)px", text))) * width / box


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_in_pictures_are_ten_pixels_high_on_a_phone(site, browser, theme):
    tab = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=theme)
    tab.set_default_timeout(120_000)
    small, count = [], 0
    for name in PAGES:
        tab.goto((SITE / name).as_uri(), wait_until="load")
        shown = tab.evaluate(PICTURES)
        count += len(shown)
        small += [(name, place) for place, each in enumerate(shown) if letters(*each) < 10]
    tab.close()
    assert small == [] and count > 30


def test_of_the_two_renderings_of_the_first_page_one_is_shown(site, browser):
    for width, kind, other in ((1400, "desks", "phones"), (390, "phones", "desks")):
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.goto((SITE / "book/index.html").as_uri(), wait_until="load")
        for image in tab.locator(f".front img.for-{kind}").all():
            assert image.is_visible()
        assert tab.locator(f".front img.for-{kind}").count() == 2 == tab.locator(f".front img.for-{other}:not(:visible)").count()  # fmt: skip
        tab.close()


@pytest.fixture
def origin(site):
    """The site served as the web would."""
    handler = partial(QuietHandler, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_no_request_leaves_the_origin_of_a_served_site(origin, browser):
    context = browser.new_context()
    tab = context.new_page()
    requests, errors = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: message.type == "error" and errors.append((message.text, message.location["url"])))  # fmt: skip
    for page in ("index.html", "book/explorer.html", "book/executed/hard_samples.html"):
        tab.goto(origin + page, wait_until="load")
        tab.wait_for_url("**/book/**")
        tab.evaluate(TYPESET)
    assert [url for url in requests if not url.startswith((origin, "data:", "blob:"))] == []
    # the page that leads to the first one has no icon of its own, so the browser may ask for the usual one
    errors = [(text, url) for text, url in errors if url != origin + "favicon.ico"]
    assert errors == [] and len(requests) > 20
    context.close()


def test_widgets_are_drawn_without_a_kernel(site, visit):
    tab, requests, errors, _ = visit("book/executed/hard_samples.html")
    views = tab.locator('script[type="application/vnd.jupyter.widget-view+json"]').count()
    assert views > 0
    tab.wait_for_function(
        f"document.querySelectorAll('.widget-subarea .jupyter-widgets').length >= {views}"
    )
    assert (requests, errors) == ([], [])


@pytest.mark.parametrize(
    "name",
    [f"book/{page}.html" for page in ("index", "method", "pages/mnist", "executed/hard_samples")],
)
def test_every_control_has_a_name_and_formulas_are_no_stop_of_the_tab_key(site, visit, name):
    tab, *_ = visit(name)
    views = tab.locator('script[type="application/vnd.jupyter.widget-view+json"]').count()
    sliders = {0: 0, 1: 3, 2: 10}[
        views
    ]  # three over the toy batch; five and two places in the explorer
    tab.wait_for_function(
        f"document.querySelectorAll('[role=slider][aria-label]').length >= {sliders}"
    )
    nodes = tab.context.new_cdp_session(tab).send("Accessibility.getFullAXTree")["nodes"]
    controls = [n for n in nodes if not n["ignored"] and n["role"]["value"] in CONTROLS]
    assert len([n for n in controls if n["role"]["value"] == "slider"]) == sliders
    assert [n for n in controls if not n.get("name", {}).get("value", "").strip()] == []
    assert tab.locator("mjx-container[tabindex='0']").count() == 0


def test_search_finds_sinkhorn_on_three_pages(site, visit):
    tab, requests, errors, _ = visit("search.html", "?q=Sinkhorn")
    tab.wait_for_function("document.querySelectorAll('#search-results li').length >= 3")
    assert (requests, errors) == ([], [])
