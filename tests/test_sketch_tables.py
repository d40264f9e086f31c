"""Tables of what drawings find, against a hand-made answer."""

import torch

from bwot import metrics
from bwot.cross_retrieval import Answers
from bwot.data.images import Split
from bwot.data.sketches import SketchData
from bwot.sketch_tables import class_table, nearest


def answers(queries, query_labels, gallery, gallery_labels):
    """Answers from places on a line."""
    queries, gallery = torch.tensor(queries)[:, None], torch.tensor(gallery)[:, None]
    query_labels, gallery_labels = torch.tensor(query_labels), torch.tensor(gallery_labels)
    scores = metrics.score_embeddings(queries, gallery, query_labels, gallery_labels)
    return Answers(queries, query_labels, gallery, gallery_labels, scores)


def data(classes):
    nothing = Split(torch.zeros(1, 1, 2), torch.zeros(1).long())
    parts = dict.fromkeys(("train", "validation", "test"), nothing)
    return SketchData("shrec13", "made up", False, "0" * 64, classes, shapes=Split(torch.zeros(1, 2), torch.zeros(1).long()), names={}, **parts)  # fmt: skip


FOUND = answers([0.0, 0.2, 3.2], [0, 0, 1], [0.1, 3.0, 0.4, 4.9], [0, 0, 1, 1])


def test_the_nearest_shapes_come_first():
    assert nearest(FOUND, [0, 2], 3).tolist() == [[0, 2, 1], [1, 3, 2]]


def test_classes_stand_in_the_table_the_worst_first_with_what_is_found_instead():
    """Ant's models are at ranks 1 and 3 of both its queries, bee's at 2 and 3 of its one."""
    head, _, *rows = class_table(data(("ant", "bee")), FOUND).splitlines()
    assert head == "| class | models | queries | NN | FT | mAP | found instead |"
    assert rows == [
        "| bee | 2 | 1 | 0.0 | 50.0 | 58.3 | ant (50 %) |",
        "| ant | 2 | 2 | 100.0 | 50.0 | 83.3 | bee (50 %) |",
    ]


def test_a_class_that_no_shape_answers_has_no_row():
    found = answers([0.0, 1.0], [0, 2], [0.0, 2.0], [0, 1])
    rows = class_table(data(("ant", "bee", "cat")), found).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| ant"]


def test_nothing_is_found_instead_where_there_is_nothing_else():
    found = answers([0.0], [0], [0.0, 1.0], [0, 0])
    assert class_table(data(("ant",)), found).splitlines()[2].endswith("– |")
