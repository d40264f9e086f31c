"""What was found, twice: in a few sentences to four questions, and as a paragraph for each data set and way of comparing.

A sentence says of a data set what its claim's verdict rests on (:mod:`bwot.claims`): the longest tuned comparison there is.
"""

from collections.abc import Iterator

from bwot import claims, scoreboard, sharpness
from bwot.claims import Finding, Quantity
from bwot.comparison import of_loss, summarise
from bwot.findings import answer, ratio_of, said
from bwot.looks import TITLES
from bwot.published import IMAGE_SETTINGS
from bwot.scoreboard import OURS, SHORT, Ways
from bwot.told import listed

Everything = dict[str, Ways]
HOW = {"full length": "full length", "tuned": "tuned", "common rate": "common"}
"""Ways of the scoreboard, as :data:`bwot.findings.HOW` names them."""


def questions(everything: Everything, plans: dict) -> str:
    """A list item for each question, with its answer from the records; ``plans`` is the record of :mod:`bwot.sharpness`."""
    found = {claim.name: _deciding(claim, everything) for claim in claims.CLAIMS}
    asked = {
        "Does it emphasise hard pairs?": [*_emphasis(found["hard"]), uniform(plans)],
        "Is it faster?": [*_against(found["faster"], "The mean over the epochs of its test mAP"), *_five(found["epochs"])],
        "Does it end higher?": _against(found["higher"], "Its test mAP after the last epoch"),
        "Is that transport, or hard weights alone?": _transport(found["transport"]),
        "What did not reproduce?": _not_reproduced(everything),
    }  # fmt: skip
    links = ["hard", "faster", "higher", "transport", None]
    items = [
        f"- **{question}** {' '.join(filter(None, told))}{_link(claim, found)}"
        for (question, told), claim in zip(asked.items(), links, strict=True)
    ]
    return "\n".join([*items, "", *_where(found["higher"], everything)])


def _link(claim, found):
    """To the tables of an answer, where there are some."""
    if claim is None:
        return " ({doc}`scoreboard`, {doc}`deviations`)"
    more = ", {numref}`sharpness`" if claim == "hard" else ""
    return f" ({{numref}}`claim-{claim}`{more})" if found[claim] else ""


def _deciding(claim, everything) -> dict[str, Finding]:
    """Data set to the finding that its verdict is taken from; without those where nothing was run."""
    judged = claims.judged(claim, claims.findings(claim, everything))
    found = {name: finding for on in judged.values() for name, finding in on if finding}
    return {name: found[name] for name in claim.datasets if name in found}


def _quantities(found: dict[str, Finding], place: int) -> dict[str, Quantity]:
    there = {name: each.quantities[place] for name, each in found.items() if len(each.quantities) > place}  # fmt: skip
    return {name: each for name, each in there.items() if each.difference.n}


def _emphasis(found) -> Iterator[str]:
    lengths = _quantities(found, 0)
    longer = {name: each for name, each in lengths.items() if said(each.difference) == "higher"}
    if longer:
        times = listed(f"{ratio_of(each.difference).split()[1]} times on {SHORT[name]}" for name, each in longer.items())  # fmt: skip
        yield f"Its gradient is longer than that of uniform weights on the same batches (geometric means over the seeds): {times}{_open(lengths)}."
    elif lengths:
        yield "No difference to uniform weights is shown in the length of the gradient."
    else:
        yield "Not run yet."


def uniform(plans: dict) -> str:
    """What the published λ makes of the plan; empty without a record."""
    lam = IMAGE_SETTINGS["lam"]
    most = sharpness.heaviest(plans, lam)
    if most is None:
        return ""
    return (
        f"With the λ = {lam:g} that the authors' code has for images and shapes, it does not: the plan is uniform, its heaviest pair has "
        f"{most:.2f} times the even weight, so the code as published weights nothing."
    )


def _against(found, measured) -> Iterator[str]:
    """The two quantities of a comparison with the pair-wise loss and, beside it, with the plain mean."""
    for place, other in enumerate(("pair-wise training", "the mean over all pairs, which sees as many pairs,")):  # fmt: skip
        if quantities := _quantities(found, place):
            on = _on(quantities, "higher")
            words = (
                f"is higher than {{}} on {on}"
                if on
                else "is in none of these comparisons shown to be higher than {}"
            )
            than = words.format(f"that of {other}").rstrip(",")
            yield f"{'It' if place else measured} {than}{_open(quantities)}."
    if not found:
        yield "Not run yet."


def _on(quantities, word):
    on = [SHORT[name] for name, each in quantities.items() if said(each.difference) == word]
    return listed(on) if on else ""


def _open(quantities):
    """Where the other words hold; *lower* comes first."""
    words = {"lower": "lower on", "no difference shown": "no difference is shown on", "no interval": "one seed was left to compare on"}  # fmt: skip
    return "".join(f"; {words[word]} {on}" for word in words if (on := _on(quantities, word)))


def _five(found) -> Iterator[str]:
    for name, finding in found.items():
        words = {said(each.difference) for each in finding.quantities if each.difference.n}
        if words == {"higher"}:
            yield f"Its {claims.SHORT} epochs end above the softmax network's {claims.LONG} on {SHORT[name]}."
        elif words:
            yield f"That {claims.SHORT} epochs of it beat {claims.LONG} of the softmax network is not shown on {SHORT[name]}."


def _transport(found) -> Iterator[str]:
    """Over which of the losses that weigh hard pairs without transport it ends higher, and where."""
    gained, none = [], []
    for place, other in enumerate(claims.WEIGHT_WITHOUT_TRANSPORT):
        if quantities := _quantities(found, place):
            on = _on(quantities, "higher")
            (gained if on else none).append(f"{TITLES[other]} on {on}" if on else TITLES[other])
            if on := _on(quantities, "lower"):
                gained.append(f"(but lower than {TITLES[other]} on {on})")
    if gained or none:
        parts = [f"higher than {listed(gained)}"] if gained else []
        parts += [f"in none of these comparisons shown to end higher than {listed(none)}, which need no transport"] if none else []  # fmt: skip
        yield f"It ends {', and is '.join(parts)}." if gained else f"It is {parts[0]}."
    else:
        yield "Not run yet."


def _not_reproduced(everything) -> Iterator[str]:
    """The settings that diverged, and how many of the authors' numbers have which verdict."""
    lost = []
    for dataset in scoreboard.JUDGED:
        mine = everything[dataset]["as published"]
        if diverged := sum(each.status == "diverged" for each in mine):
            lost.append(f"{diverged} of {len(mine)} on {SHORT[dataset]}")
    if lost:
        yield f"Runs with the authors' settings diverged: {listed(lost)}."
    rows = [scoreboard.row(target, everything[target.dataset])["verdict"] for target in scoreboard.targets()]  # fmt: skip
    kinds = {"reproduced": 0, "diverged": 0, "lie outside the band or are undecided": 0, "were run on other data": 0, "with settings of ours alone": 0, "not at all": 0}  # fmt: skip
    for verdict in rows:
        kinds[_kind(verdict)] += 1
    told = [f"{number} {kind}" for kind, number in kinds.items() if number and kind != "reproduced"]
    yield f"Of their {len(rows)} numbers {kinds['reproduced'] or 'none'} is reproduced: {', '.join(told)}."


def _kind(verdict):
    for begin, kind in (("reproduced", "reproduced"), ("not run", "not at all"), ("only", "with settings of ours alone")):  # fmt: skip
        if verdict.startswith(begin):
            return kind
    if "diverged" in verdict:
        return "diverged"
    return (
        "were run on other data"
        if verdict == "not comparable"
        else "lie outside the band or are undecided"
    )


def _epochs(records):
    return max(record.settings["epochs"] for record in records)


def _where(found, everything) -> Iterator[str]:
    """Which comparison speaks for each data set."""
    if not found:
        return
    each = [
        f"{SHORT[name]}{f' ({finding.variant})' if finding.variant else ''}: {finding.way}, {_epochs(everything[name][finding.way])} epochs"
        for name, finding in found.items()
    ]
    yield f"These comparisons are, of each data set, the longest tuned one: {'; '.join(each)}. After fewer epochs the order may be another."


def outcomes(everything: Everything) -> str:
    """A paragraph for each data set and way that compares losses; one seed decides nothing and has none."""
    told = []
    for dataset, ways in everything.items():
        for way in OURS:
            found = answer(HOW[way], ways[way])
            if found and summarise(of_loss(ways[way], "bwot"), "map").n > 1:
                told.append(f"**{scoreboard.named(dataset, ways[way])}, {way}.** {found}")
    return "\n\n".join(told) or "No comparison has been run yet."
