"""The first page follows the records: verdicts, curves and their words, and what is run."""

import re
import shutil
from dataclasses import replace

import matplotlib.pyplot
import pytest

from bwot import claims, figures, front, scoreboard
from bwot.paths import PROJECT


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    matplotlib.pyplot.close("all")


def test_without_records_the_page_says_so_and_has_no_curves(everything):
    text = front.verdicts(everything, {})
    assert (
        text.count("| not run yet |") == len(claims.CLAIMS) + 1
        and "**" not in text
        and "†" not in text
    )
    assert front.convergence(everything) is None
    assert front.state(PROJECT, everything).count("| not run | not run | not run | not run |") == len(scoreboard.ALL)  # fmt: skip


@pytest.mark.parametrize("bwot, word", [(0.9, "supported"), (0.3, "not supported"), (0.5, "no difference shown")])  # fmt: skip
def test_the_word_beside_a_claim_follows_the_interval(bwot, word, losses, everything):
    everything["modelnet10"]["tuned"] = losses(bwot=bwot, pairwise=0.5)
    row = next(line for line in front.verdicts(everything, {}).splitlines() if "Scores end higher" in line)  # fmt: skip
    assert row.endswith(f"| **{word}** on ModelNet10 |")


def test_what_the_published_lambda_makes_of_the_plan_is_that_of_its_record(everything):
    plans = {"rows": [{"lam": 0.01, "sign": "minus, as meant", "most": 1.234}]}
    said = "| … at the published λ = 0.01 too | **no**: the plan is uniform, its heaviest pair has 1.23 times the even weight, on digits |"
    assert said in front.verdicts(everything, plans)
    assert "published λ" not in front.verdicts(everything, {})


def test_a_comparison_at_the_common_rate_is_marked(losses, everything):
    everything["mnist"]["tuned"] = losses(bwot=0.9, pairwise=0.5)
    assert front.COMMON not in front.verdicts(everything, {})
    everything["cifar10"]["common rate"] = losses(bwot=0.9, pairwise=0.5)
    text = front.verdicts(everything, {})
    assert "**supported** on MNIST, CIFAR-10†" in text and "† One rate for all losses." in text


def test_what_became_of_the_published_settings_is_counted(make_record, everything):
    lost = [make_record("bwot", seed, (0.1,), diverged="epoch 1, step 3") for seed in range(2)]
    everything["mnist"]["as published"] = [*lost, make_record("bwot", 2)]
    everything["modelnet10"]["as published"] = [make_record("bwot", 0)]
    last = front.verdicts(everything, {}).splitlines()[-2]
    assert "| **diverged** on MNIST (2 of 3); **no curve** for ModelNet10 |" in last


def test_the_first_data_sets_with_curves_are_drawn_and_told(losses, everything):
    everything["cifar10"]["tuned"] = losses(bwot=0.5, active=0.6)
    everything["cifar10"]["common rate"] = losses(bwot=0.3, active=0.3)
    everything["modelnet10"]["common rate"] = losses(bwot=0.8, allpairs=0.7)
    everything["modelnet40"]["tuned"] = losses(bwot=0.8)  # nothing beside it
    picture = front.convergence(everything)
    titles = [axis.get_title() for axis in picture.figure.axes]
    assert titles == ["CIFAR-10, tuned", "ModelNet10, common rate"]
    assert (
        "CIFAR-10, tuned. Test mAP in percent after epochs 1 and 2, the highest at the end first: "
        "active pairs 40.0 and 60.2; batch-wise OT 30.0 and 50.1." in picture.alt
    )


def test_the_authors_points_are_named_where_they_are_drawn(losses, everything):
    everything["mnist"]["common rate"] = losses(bwot=0.9, pairwise=0.8)
    assert "unfilled: read off the authors' plot" in front.convergence(everything).caption
    copies = [replace(r, dataset=r.dataset | {"official": False, "variant": "a copy"}) for r in losses(bwot=0.9, pairwise=0.8)]  # fmt: skip
    everything["mnist"]["common rate"] = copies
    picture = front.convergence(everything)
    assert "unfilled" not in picture.caption and "MNIST (a copy)" in picture.alt


def test_runs_that_diverged_have_no_curve(make_record, losses, everything):
    everything["mnist"]["tuned"] = losses(bwot=0.9) + [make_record("pairwise", 0, (0.1, 0.2), diverged="epoch 2, step 1")]  # fmt: skip
    assert front.convergence(everything) is None


def test_the_share_that_the_picture_of_weights_names_is_that_of_the_plan():
    picture = front.weighting()
    found = int(re.search(r"ten of the 66 pairs carry (\d+) %", picture.caption)[1])
    assert 30 < found < 60 and f"{found} %" in picture.alt  # a uniform plan: 15
    widths = [{round(line.get_linewidth(), 6) for line in axis.lines} for axis in picture.figure.axes]  # fmt: skip
    assert len(widths[0]) == 1 < len(widths[1])


def test_on_a_phone_panels_stand_one_above_the_other_and_words_are_ten_pixels_high(losses, everything):  # fmt: skip
    everything["mnist"]["tuned"] = losses(bwot=0.9, pairwise=0.8)
    everything["cifar10"]["tuned"] = losses(bwot=0.5, active=0.6)
    with matplotlib.rc_context():
        figures.theme()
        pictures = front.weighting(), front.convergence(everything)
    for picture in pictures:
        desk, phone = ([axis.get_position() for axis in figure.axes] for figure in picture[:2])
        assert desk[0].x1 <= desk[1].x0 and phone[0].y0 >= phone[1].y1
        titles = [[axis.get_title() for axis in figure.axes] for figure in picture[:2]]
        assert titles[0] == titles[1]
        words = [text for text in picture.phone.findobj(matplotlib.text.Text) if text.get_text()]
        pixels = min(text.get_fontsize() for text in words) * 342 / (72 * picture.phone.get_figwidth())  # fmt: skip
        assert pixels >= 10


def test_the_state_counts_losses_and_seeds_and_links_the_chapters_there_are(tmp_path, losses, make_record, everything):  # fmt: skip
    shutil.copy(PROJECT / "_toc.yml", tmp_path)
    toc = (tmp_path / "_toc.yml").read_text(encoding="utf-8")
    (tmp_path / "_toc.yml").write_text(toc.replace("      - file: book/pages/cifar10\n", ""), encoding="utf-8")  # fmt: skip
    everything["mnist"]["tuned"] = losses(bwot=0.9, allpairs=0.8)[:-1]
    everything["mnist"]["end to end"] = [make_record("bwot", 0)]
    everything["cifar10"]["as published"] = [make_record("bwot", 0, (0.1, 0.5, 0.25))]
    text = front.state(tmp_path, everything)
    assert (
        "| MNIST | 2 losses, 2 to 3 seeds | not run | 1 loss, 1 seed | not run | {doc}`pages/mnist` |"
        in text
    )
    assert "| CIFAR-10 | not run | not run | not run | mAP 25.00 % (n = 1) | – |" in text


def on_features(records, **settings):
    return [replace(r, settings=r.settings | {"network": "mobilenet"} | settings) for r in records]


def test_other_features_than_the_authors_and_a_classifier_beside_the_loss_are_said(losses, everything):  # fmt: skip
    everything["modelnet10"]["as published"] = on_features(losses(bwot=0.9), classifier_weight=1.0)
    text = front.verdicts(everything, {})
    assert "**no curve** for ModelNet10‡ |" in text
    assert "‡ Frozen mobilenet features" in text and "On shapes, a classifier of weight 1 " in text  # fmt: skip
    everything["modelnet10"]["as published"] = on_features(losses(bwot=0.9), network="small", classifier_weight=0.0)  # fmt: skip
    text = front.verdicts(everything, {})
    assert "‡" not in text and "classifier" not in text


def test_the_part_of_shrec13_has_a_row_with_its_other_lambda(losses, everything):
    there = {"name": "shrec13-15", "variant": "15-class subset, as downloaded, no check-sum is published", "official": False}  # fmt: skip
    mine = [replace(r, dataset=r.dataset | there) for r in losses(bwot=0.9, lifted=0.95)]
    everything["shrec13-15"] |= {"tuned": mine, "λ = 5": mine[:3]}
    assert "| 2 losses, 3 seeds; λ = 5: 1 loss, 3 seeds | not run |" in front.state(PROJECT, everything)  # fmt: skip
    assert "Hard pairs are emphasised | **no difference shown** on part of SHREC'13 |" in front.verdicts(everything, {})  # fmt: skip
