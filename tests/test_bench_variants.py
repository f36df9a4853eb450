"""The benchmark of mutations' effects runs from end to end on a made-up assay."""

import csv
import gzip
import io

import benches
import numpy as np
import pytest
from Bio.Align import substitution_matrices

from npm_core.variants import single_mutants


@pytest.fixture(scope="module")
def bench():
    return benches.load("variants")


def test_each_model_is_correlated_with_what_was_measured(bench, tmp_path, monkeypatch, capsys):
    (tmp_path / "dms").mkdir()
    with gzip.open(tmp_path / "dms/ProteinGym_DMS_substitutions_reference.csv.gz", "wt") as stream:
        stream.write("DMS_id,raw_DMS_phenotype_name,raw_DMS_directionality\nX,harm,-1\n")
    # The row, of a relative, has G where the protein has A, and counts from 124.
    (tmp_path / "msa.fasta").write_text(">p/124-128\nGCDEF\n>q\nACDEY\n>r\nSCEEF\n")
    blosum = substitution_matrices.load("BLOSUM62")
    scored = list(single_mutants("ACDEF", np.arange(24, 29, dtype=np.int32)))
    harms = [f"{one},0,{-blosum[one[0]][one[-1]]}" for one in scored]
    table = "\n".join(["mutant,other,harm", "A24A,0,0", *harms, "W29G,0,9\n"])
    (tmp_path / "assay.csv").write_text(table)
    assay = bench.Assay("assay.csv", "msa.fasta", "p", offset=-100)
    monkeypatch.setattr(bench, "ASSAYS", {"X": assay})
    # Of a thousand draws of five residues one would be of a single residue, which has no rho.
    monkeypatch.setattr(bench, "DRAWS", 20)
    monkeypatch.setattr("sys.argv", ["variants.py"])
    monkeypatch.setenv("NPM_REAL_DATA", str(tmp_path))
    bench.main()
    captured = capsys.readouterr()
    assert "X: 4 of 5 residues" in captured.err
    assert "of 97 mutants 1 are the wild type, 1 have no column" in captured.err
    rows = list(csv.DictReader(io.StringIO(captured.out), delimiter="\t"))
    assert {(row["assay"], row["column"], row["n"]) for row in rows} == {("X", "harm", "95")}
    rho = {row["model"]: float(row["rho"]) for row in rows}
    assert rho["BLOSUM62"] == 1
    assert all(float(row["low"]) < float(row["high"]) for row in rows if row["model"] != "BLOSUM62")
    assert rows[0]["model"] == "independent Potts"
    assert [float(row["minus_potts_rho"]) for row in rows] == pytest.approx(
        [each - rho["independent Potts"] for each in rho.values()], abs=0.0011
    )
