"""The picture of how tasks relate."""

import numpy as np

from mtl_cli.reporting.plots.draw import pictures
from mtl_cli.reporting.plots.relations import relations
from mtl_cli.reporting.plots.scene import Related
from tests.reporting.plots.scenes import scene


def test_each_cell_has_the_correlation_of_its_two_tasks() -> None:
    related = Related("mtrl", ("digit", "slant"), np.array([[1.0, -0.25], [-0.25, 1.0]]))
    axes = relations(scene(), related).axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts if text.get_text()[-1].isdigit()}
    assert cells == {(0, 0): "1.00", (1, 0): "-0.25", (0, 1): "-0.25", (1, 1): "1.00"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["digit", "slant"]
    assert axes.images[0].get_clim() == (-1, 1)


def test_it_is_drawn_where_a_method_learned_it_alone() -> None:
    related = Related("mtrl", ("task0", "task1"), np.eye(2))
    names = [picture.name for picture in pictures(scene()._replace(relations=(related,)))]
    assert names.count("relations-mtrl") == 1
    assert not any("relations" in picture.name for picture in pictures(scene()))
