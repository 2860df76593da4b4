"""Drawings stay of a size that can be looked at."""

import numpy as np

from kfp_textclf.components.common import plots


def test_a_matrix_of_many_classes_is_drawn_and_some_are_named() -> None:
    labels = [f"class {number}" for number in range(300)]
    figure = plots.matrix(labels, np.eye(300, dtype=int).tolist())
    assert max(figure.get_size_inches()) < 25
    named = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert named == labels[::5]


def test_every_class_of_few_is_named_and_counted() -> None:
    axis = plots.matrix(["a", "b"], [[3, 1], [0, 2]]).axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b"]
    assert sorted(text.get_text() for text in axis.texts) == ["1", "2", "3"]


def test_labels_of_any_kind_are_named_as_they_are_and_long_ones_in_short() -> None:
    labels = [r"$\frac{$", "a$b$", f"begin{'x' * 400}end"]
    figure = plots.matrix(labels, np.eye(3, dtype=int).tolist())
    assert plots.to_svg(figure).startswith("<svg")  # that of mathematics would raise
    named = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert named[:2] == labels[:2]
    assert named[2].startswith("begin")
    assert named[2].endswith("end")
    assert len(named[2]) == plots.LONGEST_NAME
