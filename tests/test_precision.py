import numpy as np
import pytest

from npm_core.cli import main
from npm_core.errors import DataError
from npm_core.precision import (
    RANGES,
    Scorable,
    count_pairs,
    measure,
    measure_chance,
    meff_bin,
    meff_bins,
    rank_pairs,
    rank_ranges,
    top_precision,
)


@pytest.fixture
def distances():
    """Five residues; 0-4 and 1-4 are contacts (8.0 counts), 0-3 is not."""
    matrix = np.full((5, 5), 20.0)
    matrix[0, 4] = matrix[4, 0] = 8.0
    matrix[1, 4] = matrix[4, 1] = 5.0
    return matrix


@pytest.mark.parametrize(("k", "expected"), [(1, 2 / 3), (2, 1.0), (5, 1.0), (6, 1.0)])
def test_counts_contacts_among_the_strongest_pairs(distances, k, expected):
    scores = np.zeros((5, 5))
    scores[0, 4], scores[1, 4], scores[0, 3] = 3.0, 2.0, 1.0
    value = top_precision(scores, distances, k=k, separation=range(3, 5), contact_distance=8.0)
    assert value == pytest.approx(expected)


def test_only_the_upper_triangle_is_read(distances):
    scores = np.zeros((5, 5))
    scores[0, 4] = 1.0
    scores[np.tril_indices(5)] = np.nan
    assert (
        top_precision(scores, distances, k=5, separation=range(3, 5), contact_distance=8.0) == 1.0
    )


def test_a_contact_is_at_most_the_contact_distance_apart(distances):
    scores = np.zeros((5, 5))
    scores[0, 4] = 1.0
    options = {"k": 5, "separation": range(3, 5)}
    assert top_precision(scores, distances, contact_distance=8.0, **options) == 1.0
    assert top_precision(scores, distances, contact_distance=7.999, **options) == 0.0


def test_unresolved_residues_leave_the_ranking_but_count_in_length(distances):
    scores = np.zeros((5, 5))
    scores[0, 4], scores[1, 4], scores[0, 3] = 1.0, 2.0, 3.0
    distances[3, :] = distances[:, 3] = np.nan
    ranking = rank_pairs(scores, distances, separation=range(3, 5), contact_distance=8.0)
    assert (ranking.length, ranking.pairs, ranking.true_contacts) == (5, 2, 2)
    assert ranking.precision(1) == 1.0


def test_ties_are_broken_by_row_then_column():
    distances = np.full((4, 4), 20.0)
    distances[0, 2] = 3.0
    ranking = rank_pairs(np.zeros((4, 4)), distances, separation=range(2, 4), contact_distance=8.0)
    assert ranking.contacts.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("scores", "tied"),
    [
        ([9, 8, 7, 6, 5, 4], (0, 0, 0)),
        ([9, 8, 7, 7, 5, 4], (0, 0, 0)),
        ([9, 8, 8, 7, 7, 4], (1, 1, 0)),
        ([9, 8, 7, 7, 7, 7], (2, 0, 0)),
        ([0, 0, 0, 0, 0, 0], (4, 2, 1)),
    ],
)
def test_pairs_that_a_cutoff_takes_from_others_of_their_score_are_counted(scores, tied):
    """Six pairs of four residues: L takes four of them, L/2 two, L/4 one."""
    table = np.zeros((4, 4))
    table[np.triu_indices(4, 1)] = scores
    distances = np.full((4, 4), 20.0)
    ranking = rank_pairs(table, distances, separation=range(1, 4), contact_distance=8.0)
    assert tuple(ranking.tied(k) for k in (1, 2, 4)) == tied
    # All pairs are ranked: none is left out.
    few = rank_pairs(table, distances, separation=range(2, 4), contact_distance=8.0)
    assert few.tied(1) == 0


def test_the_strongest_pairs_are_those_of_a_full_stable_sort(rng):
    length = 60
    scores = rng.integers(0, 5, size=(length, length)).astype(float)
    distances = rng.uniform(0, 16, size=(length, length))
    for separation in RANGES.values():
        i, j = np.triu_indices(length, k=separation.start)
        keep = j - i < separation.stop
        i, j = i[keep], j[keep]
        order = np.argsort(-scores[i, j], kind="stable")[: length + 1]
        ranking = rank_pairs(scores, distances, separation=separation, contact_distance=8.0)
        assert (ranking.contacts == (distances[i[order], j[order]] <= 8.0)).all()


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [("short", (6, 11), (5, 12)), ("medium", (12, 23), (11, 24)), ("long", (24, 29), (23,))],
)
def test_ranges_are_half_open(name, inside, outside):
    for separations, found in ((inside, True), (outside, False)):
        for separation in separations:
            distances = np.full((30, 30), 20.0)
            distances[0, separation] = 1.0
            ranking = rank_pairs(
                np.zeros((30, 30)), distances, separation=RANGES[name], contact_distance=8.0
            )
            assert bool(ranking.true_contacts) is found


def test_auc_is_the_mean_over_ten_thresholds():
    length = 25
    distances = np.full((length, length), 20.0)
    scores = np.zeros((length, length))
    for rank, j in enumerate(range(6, 12)):
        scores[0, j] = 10.0 - rank
    distances[0, 6] = distances[0, 7] = distances[0, 8] = 4.0
    ranking = rank_pairs(scores, distances, separation=RANGES["short"], contact_distance=8.0)
    # floor(25 m / 10) pairs, the first three of which are contacts
    thresholds = [2, 5, 7, 10, 12, 15, 17, 20, 22, 25]
    expected = np.mean([min(3, pairs) / pairs for pairs in thresholds])
    assert ranking.auc() == pytest.approx(expected)


def test_auc_ranks_at_least_one_pair_and_no_more_than_there_are(distances):
    scores = np.zeros((5, 5))
    scores[0, 4], scores[1, 4], scores[0, 3] = 3.0, 2.0, 1.0
    ranking = rank_pairs(scores, distances, separation=range(3, 5), contact_distance=8.0)
    # floor(5 m / 10), at least 1, at most the 3 pairs: 1 1 1 2 2 3 3 3 3 3
    assert ranking.auc() == pytest.approx((5 * 1.0 + 5 * 2 / 3) / 10)


def test_ranges_without_a_pair_are_absent():
    found = rank_ranges(np.zeros((13, 13)), np.zeros((13, 13)), contact_distance=8.0)
    assert {name: ranking.pairs for name, ranking in found.items()} == {"short": 27, "medium": 1}


def test_pairs_are_counted_without_scores_as_they_are_ranked():
    # Of 14 residues, the first without coordinates, 13 - 6 + ... + 13 - 11 pairs are in the short
    # range and one in the medium. Of three contacts one is too far by a little, two by nothing.
    distances = np.full((14, 14), 20.0)
    distances[1, 7] = distances[2, 8] = 8.0
    distances[1, 8] = 8.001
    distances[0] = np.nan
    found = count_pairs(distances, contact_distance=8.0)
    assert found == {"short": Scorable(14, 27, 2), "medium": Scorable(14, 1, 0)}


def test_perfect_scores_reach_one_while_contacts_last(rng):
    distances = np.abs(rng.normal(20, 10, size=(80, 80)))
    ranking = rank_pairs(-distances, distances, separation=RANGES["long"], contact_distance=8.0)
    assert ranking.true_contacts > 80
    assert all(row.precision == 1.0 for row in measure(ranking, "long"))


def test_random_scores_come_close_to_chance(rng):
    distances = rng.uniform(0, 16, size=(120, 120))
    ranking = rank_pairs(
        rng.normal(size=(120, 120)), distances, separation=RANGES["long"], contact_distance=8.0
    )
    chance = {row.cutoff: row.precision for row in measure_chance(ranking, "long")}
    assert set(chance.values()) == {ranking.true_contacts / ranking.pairs}
    assert ranking.precision(1) == pytest.approx(chance["L"], abs=0.15)


def test_measures_carry_their_counts(distances):
    scores = np.zeros((5, 5))
    scores[0, 4], scores[1, 4], scores[0, 3] = 3.0, 2.0, 1.0
    ranking = rank_pairs(scores, distances, separation=range(3, 5), contact_distance=8.0)
    rows = {row.cutoff: row for row in measure(ranking, "long")}
    assert [(rows[name].pairs, rows[name].contacts) for name in ("L", "L/2", "L/5")] == [
        (3, 2),
        (2, 2),
        (1, 1),
    ]
    assert (rows["AUC"].pairs, rows["AUC"].contacts) == (3, None)
    # L/1 asks for five pairs and the range has three: the two contacts are of three.
    assert rows["L"].precision == pytest.approx(2 / 3)
    chance = {row.cutoff: row.pairs for row in measure_chance(ranking, "long")}
    assert chance == {"L": 3, "L/2": 2, "L/5": 1, "AUC": 3}


@pytest.mark.parametrize(
    ("scores", "distances", "message"),
    [
        (np.zeros((4, 4)), np.zeros((5, 5)), "distances are"),
        (np.zeros((4, 5)), np.zeros((4, 5)), r"expected \(L, L\)"),
        (np.full((30, 30), np.nan), np.zeros((30, 30)), "diverged"),
        (np.zeros((24, 24)), np.zeros((24, 24)), "none of 24 residues"),
        (np.zeros((30, 30)), np.full((30, 30), np.nan), "none of 30 residues"),
    ],
)
def test_what_cannot_be_scored_is_an_error(scores, distances, message):
    with pytest.raises(DataError, match=message):
        top_precision(scores, distances, k=1, separation=RANGES["long"], contact_distance=8.0)
    if "none of" in message:
        assert not rank_ranges(scores, distances, contact_distance=8.0).get("long")
    else:
        with pytest.raises(DataError, match=message):
            rank_ranges(scores, distances, contact_distance=8.0)


def test_meff_bins_are_right_closed():
    assert meff_bins() == ("(0, 15]", "(15, 50]", "(50, 100]", "(100, 500]", "> 500")
    assert [meff_bin(value) for value in (0.5, 15, 15.1, 100, 500, 501)] == [
        "(0, 15]",
        "(0, 15]",
        "(15, 50]",
        "(50, 100]",
        "(100, 500]",
        "> 500",
    ]
    for meff in (0.0, np.nan):
        with pytest.raises(DataError, match="Meff"):
            meff_bin(meff)


def chain(length):
    """Residues on a line, 3 angstrom apart."""
    return 3.0 * np.abs(np.subtract.outer(np.arange(length), np.arange(length)))


def test_the_verb_brings_the_structure_onto_the_scored_residues(tmp_path, capsys):
    sequence = "MKVLAWHDEGQRSTNCFYIP"
    query = sequence[3:16]
    scores = np.zeros((13, 13))
    scores[0, 6] = scores[6, 0] = 1.0  # residues 4 and 10 of the chain
    distances = chain(20)
    distances[3, 9] = distances[9, 3] = 5.0
    np.savez(tmp_path / "s.npz", scores=scores, sequence=np.array(query))
    np.savez(tmp_path / "plain.npz", scores=scores)
    np.savez(tmp_path / "c.npz", distances=distances, sequence=np.array(sequence))

    def precision(*words):
        output = ["--contacts", str(tmp_path / "c.npz"), "--output", str(tmp_path / "p.tsv")]
        return main(["precision", "--scores", str(tmp_path / words[0]), *output, *words[1:]])

    assert precision("s.npz") == 0
    said = capsys.readouterr().err
    assert "13 of 13 residues matched to the structure's sequence; 13 are scored and" in said
    assert "no pair of resolved residues in the long range" in said
    rows = [line.split("\t") for line in (tmp_path / "p.tsv").read_text().splitlines()]
    # L = 13: of the L/10 = 1 best pair all, of the L/5 = 2 best pairs one is a contact.
    assert ["short", "L/5", "0.500000", "2", "1"] in [row[:5] for row in rows]
    # Three residues in between have no column. The contact is 6 apart along the chain, and would
    # be 3 apart in columns; L is 13 still.
    kept = np.array([0, 1, 2, 6, 7, 8, 9, 10, 11, 12])
    np.savez(
        tmp_path / "gap.npz",
        scores=scores[np.ix_(kept, kept)],
        sequence=np.array("".join(query[place] for place in kept)),
        numbers=kept + 4,
    )
    assert precision("gap.npz", "--map", str(tmp_path / "map.png")) == 0
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    rows = [line.split("\t") for line in (tmp_path / "p.tsv").read_text().splitlines()]
    assert ["short", "L/5", "0.500000", "2", "1"] in [row[:5] for row in rows]
    assert precision("plain.npz") == 2
    assert "13 residues are scored, the structure has 20" in capsys.readouterr().err


def test_the_verb_reads_a_structure_as_it_is_and_says_how_it_went(tmp_path, capsys, rng):
    atoms = [
        f"ATOM  {n:5d}  CA  GLY {chain}{n:4d}    {3.0 * n:8.3f}{0:8.3f}{0:8.3f}  1.00  0.00"
        for chain in "AB"
        for n in range(1, 31)
    ]
    (tmp_path / "x.pdb").write_text("\n".join([*atoms, "END"]) + "\n")
    scores = rng.random((30, 30))
    np.savez(tmp_path / "s.npz", scores=scores + scores.T, sequence=np.array("G" * 30))
    np.savez(tmp_path / "plain.npz", scores=scores + scores.T)
    chain_a = ["--structure", str(tmp_path / "x.pdb"), "--chain", "A"]
    assert main(["contacts", *chain_a, "--output", str(tmp_path / "c.npz")]) == 0
    of_the_file = ["--contacts", str(tmp_path / "c.npz")]
    tables = []

    def precision(name, *words):
        output = ["--output", str(tmp_path / "p.tsv")]
        status = main(["precision", "--scores", str(tmp_path / name), *words, *output])
        tables.append((tmp_path / "p.tsv").read_text())
        return status, capsys.readouterr().err

    capsys.readouterr()
    said = (
        "30 of 30 residues matched to the structure's sequence; 30 are scored and resolved\n"
        "long range: P@L 0.000, P@L/5 0.000, by chance 0.000\n"
    )
    assert precision("s.npz", *chain_a) == (0, said)
    assert precision("s.npz", *of_the_file) == (0, said)
    assert "30 of 30 residues matched one by one: no seq" in precision("plain.npz", *chain_a)[1]
    assert tables[0] == tables[1] == tables[2]
    status, said = precision("s.npz", *chain_a[:2])
    assert (status, "choose one of the protein chains: A, B" in said) == (2, True)
    status, said = precision("s.npz", *of_the_file, "--chain", "A")
    assert (status, "--chain needs --structure" in said) == (2, True)


@pytest.mark.parametrize("distance", ["0", "-1", "nan", "inf", "x"])
@pytest.mark.parametrize("verb", ["precision", "tabulate-precision"])
def test_a_contact_distance_is_a_finite_number_above_0(capsys, verb, distance):
    with pytest.raises(SystemExit):
        main([verb, "--contact-distance", distance])
    assert f"expected a finite number above 0, found '{distance}'" in capsys.readouterr().err
