"""Contacts of the nearest family, where the target aligns to it."""

import numpy as np
from family_inputs import family, neighbour

from npm_core.cli import main
from npm_core.neighbours import Neighbour, write_neighbours
from npm_core.tables import Target, read_metadata, read_scores, write_families, write_targets


def test_nearest_contacts_are_those_of_the_family_where_it_aligns(tmp_path, rng, capsys):
    # Columns 1 and 4 of the family always agree, all others are chance; the target's residues
    # 3 to 8 are the family's columns 0 to 5.
    rows = rng.choice(list("ACDEFG"), (200, 6))
    rows[:, 4] = rows[:, 1]
    write_families(tmp_path / "families.parquet", [family(*map("".join, rows))], {})
    targets = [Target(name, "Clan", "A" * 10, np.zeros((10, 3), np.float32), "x") for name in "tuv"]
    write_targets(tmp_path / "targets.parquet", targets, {})
    nothing = np.zeros(0, np.int32)
    found = [
        neighbour(range(3, 9), range(6)),
        Neighbour("u", None, None, None, nothing, nothing),
        Neighbour("v", "f", 1.0, None, nothing, nothing),
        # Of another shard's target.
        Neighbour("w", "elsewhere", 1.0, None, nothing, nothing),
    ]
    write_neighbours(tmp_path / "neighbours.parquet", found, {})
    arguments = [
        *("nearest-contacts", "--neighbours", str(tmp_path / "neighbours.parquet")),
        *("--targets", str(tmp_path / "targets.parquet"), "--seed", "1"),
        *("--families", str(tmp_path / "families.parquet")),
        *("--output", str(tmp_path / "scores.parquet")),
    ]
    assert main(arguments) == 0
    (scores,) = read_scores(tmp_path / "scores.parquet")
    assert (scores.id, scores.model, scores.depth) == ("t", "nearest", 200)
    assert scores.matrix.shape == (10, 10)
    assert np.unravel_index(scores.matrix.argmax(), (10, 10)) == (3 + 1, 3 + 4)
    aligned = np.zeros((10, 10), dtype=bool)
    aligned[3:9, 3:9] = True
    off_diagonal = ~np.eye(10, dtype=bool)
    lowest = scores.matrix[aligned & off_diagonal].min()
    assert (scores.matrix[~aligned & off_diagonal] == lowest).all()
    metadata = read_metadata(tmp_path / "scores.parquet")
    assert (metadata["targets_with_hit"], metadata["targets_without_hit"]) == (2, 1)
    assert "1 without a hit, 1 without two aligned residues" in capsys.readouterr().err
    assert main([*arguments, "--identity-threshold", "1"]) == 0
    (others,) = read_scores(tmp_path / "scores.parquet")
    assert scores.meff < others.meff  # of the rows under the reference
    assert not np.array_equal(scores.matrix, others.matrix)
    for others, told in ((found[1:3], "nearest family g"), (found[2:], "target u is not among")):
        away = Neighbour("t", "g", 1.0, None, nothing, nothing)
        write_neighbours(tmp_path / "neighbours.parquet", [away, *others], {})
        assert main(arguments) == 2
        assert told in capsys.readouterr().err
