"""What the picture of a contact map shows, told from the marks that are drawn."""

import matplotlib.axes
import numpy as np
import pytest
from matplotlib.figure import Figure

from npm_core.contact_map import HIT, MISS, TRUTH, draw_contact_map


@pytest.fixture
def drawn(monkeypatch):
    """Marks by colour, as (row, column) of residues, and the titles."""
    marks: dict[str, set] = {"titles": set()}
    scatter, title = matplotlib.axes.Axes.scatter, matplotlib.axes.Axes.set_title

    def noted(self, x, y, **how):
        marks.setdefault(how["color"], set()).update(zip(y.tolist(), x.tolist(), strict=True))
        return scatter(self, x, y, **how)

    def told(self, text, **how):
        marks["titles"].add(text)
        return title(self, text, **how)

    monkeypatch.setattr(matplotlib.axes.Axes, "scatter", noted)
    monkeypatch.setattr(matplotlib.axes.Axes, "set_title", told)
    return marks


@pytest.fixture
def scores():
    """Nine residues: six pairs are far enough apart, and these have positive scores."""
    table = np.zeros((9, 9))
    table[0, 6], table[1, 8], table[2, 8], table[0, 1] = 3.0, 2.0, 1.0, 9.0
    return table


def test_right_and_wrong_pairs_are_told_apart_and_unresolved_ones_left_out(tmp_path, scores, drawn):
    distances = np.full((9, 9), 20.0)
    distances[0, 6] = distances[0, 8] = 8.0
    distances[2, 8] = np.nan
    draw_contact_map(tmp_path / "a.png", "x", scores, first=24, distances=distances)
    assert drawn[TRUTH] == {(24, 30), (24, 32)}
    # All six pairs are among the nine strongest but for the unresolved one.
    assert drawn[HIT] == {(24, 30), (24, 32)}
    assert drawn[MISS] == {(24, 31), (25, 31), (25, 32)}
    assert drawn["titles"] == {"x\n2 of the 5 strongest pairs (separation 6 and up) are contacts"}
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_structure_the_strongest_pairs_have_one_colour(tmp_path, drawn):
    scores = np.zeros((12, 12))
    scores[0, 6:] = 1.0
    scores[1, 7:] = 2.0
    scores[5, 11] = 3.0
    draw_contact_map(tmp_path / "a.png", "x", scores)
    # Of 21 pairs the 12 strongest
    strongest = {(1, j) for j in range(7, 13)} | {(2, j) for j in range(8, 13)} | {(6, 12)}
    assert drawn == {
        "black": strongest,
        "titles": {"x\n12 strongest pairs, separation 6 and up"},
    }


@pytest.mark.parametrize("length", [1, 6, 7])
def test_a_peptide_has_a_picture_with_whole_residue_numbers(tmp_path, drawn, monkeypatch, length):
    ticks = []
    shown = Figure.savefig

    def noted(self, *where, **how):
        shown(self, *where, **how)
        ticks.extend(self.axes[0].get_xticks())

    monkeypatch.setattr(Figure, "savefig", noted)
    draw_contact_map(tmp_path / "a.png", "x", np.zeros((length, length)), first=5)
    assert all(tick == round(tick) for tick in ticks)
    assert drawn["black"] == ({(5, 11)} if length == 7 else set())


@pytest.mark.parametrize("title", ["x", "W" * 60, "a/long|name." * 20])
@pytest.mark.parametrize("structure", [True, False])
def test_nothing_that_is_drawn_lies_outside_the_picture(tmp_path, monkeypatch, title, structure):
    drawn = {}
    draw = Figure.draw

    def noted(self, renderer):
        draw(self, renderer)
        (axes,) = self.axes
        parts = [axes, axes.title, *self.legends]
        drawn["page"] = self.bbox.extents.copy()
        drawn["parts"] = [part.get_tightbbox(renderer).extents for part in parts]

    monkeypatch.setattr(Figure, "draw", noted)
    distances = np.full((30, 30), 5.0) if structure else None
    draw_contact_map(tmp_path / "a.png", title, np.eye(30), distances=distances)
    assert len(drawn["parts"]) == 2 + structure
    for part in drawn["parts"]:
        assert (part[:2] >= drawn["page"][:2]).all()
        assert (part[2:] <= drawn["page"][2:]).all()


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", b"\x89PNG"), ("a", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<?xml")],
)
def test_the_suffix_tells_the_format_and_twice_it_is_the_same(tmp_path, name, start):
    pictures = []
    for _ in range(2):
        draw_contact_map(tmp_path / name, "x", np.eye(9))
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0].startswith(start)
    assert pictures[0] == pictures[1]


def test_dollars_in_a_name_are_no_formula(tmp_path):
    draw_contact_map(tmp_path / "a.png", "a$\\frac$b", np.eye(9, dtype=np.float32))
    assert (tmp_path / "a.png").stat().st_size > 0
