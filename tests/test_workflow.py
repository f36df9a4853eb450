"""The real Snakefile with the real tools on a tiny universe, and on the user's own data."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from pyhmmer.easel import Alphabet, TextMSA, TextSequence
from pyhmmer.plan7 import Background, Builder

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.slow

TINY = {
    "universe": {
        "seed": 3,
        "clans": 1,
        "families_per_clan": 6,
        "lone_families": 0,
        "max_depth": 30,
        "decoys": 2,
    },
    "queries": {
        "shards": {"train": 2, "test": 1, "targets": 1},
        "limit": {"train": 4, "test": 2, "targets": 4},
    },
    "pfam_clan": {
        "clans": ["NADP_Rossmann"],
        "rounds": 1,
        "depths": [10],
        "without_rounds": [0],
        "ablations": {"tied": {"kind": "tied", "rank": 2}},
        "ablation_depths": [10],
        "selection": {"grid": {"head_learning_rate": [1.0e-3, 1.0e-2]}},
    },
    "npm": {
        "trunks": {
            "common": {
                "transformer": {"layers": 1, "width": 16, "attention_heads": 2},
                "pretraining": {"steps": 2, "batch": 2},
            },
        },
        "uniref50": {"head": {"rank": 2}, "training": {"steps": 2, "batch": 2, "rows": 3}},
        "pfam_clan": {"head": {"rank": 2}, "training": {"steps": 2, "batch": 2, "rows": 3}},
    },
}


def snakemake(folder: Path, *arguments: str, first: str = "") -> subprocess.CompletedProcess:
    """Run the workflow in `folder` with the settings of its settings.yaml; `first` leads PATH."""
    return subprocess.run(
        [
            *(str(BIN / "snakemake"), "--snakefile", str(ROOT / "workflow" / "Snakefile")),
            *("--directory", str(folder), "--configfile", str(folder / "settings.yaml")),
            *("--cores", "2", *arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": f"{first}:{BIN}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
        },
    )


def output(done: subprocess.CompletedProcess) -> str:
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder in which the whole chain has run on a tiny universe."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "settings.yaml").write_text(yaml.safe_dump(TINY))
    # That their processes may be two is tested with own alignments.
    threads = ("fit_potts=1", "fit_potts_with_prior=1")
    done = snakemake(folder, "all", "--set-threads", *threads)
    assert done.returncode == 0, output(done)[-5000:]
    return folder


def test_the_chain_ends_in_both_reports(finished):
    for name in ("uniref50", "pfam_clan"):
        page = (finished / "reports" / f"{name}.html").read_text()
        assert "</html>" in page
    table = pq.read_table(finished / "results/precision/uniref50/0000.parquet")
    assert {"potts", "prior", "npm", "nearest"} <= set(table.column("model").to_pylist())


def test_every_model_and_control_is_in_the_tables(finished):
    table = pq.read_table(finished / "results/precision/pfam_clan/NADP_Rossmann/0/10.parquet")
    models = set(table.column("model").to_pylist())
    assert {"potts", "prior", "npm", "npm_shuffled", "npm_without", "nearest", "chance"} <= models
    assert "npm_without_shuffled" not in models
    assert set(table.column("reduced_depth").to_pylist()) == {"10"}
    assert set(table.column("range").to_pylist()) == {"short", "medium", "long"}


def test_other_heads_are_tabulated_as_variants(finished):
    folder = finished / "results/precision/pfam_clan/NADP_Rossmann/0/10"
    table = pq.read_table(folder / "tied.parquet")
    assert set(table.column("variant").to_pylist()) == {"tied"}
    assert {"npm", "potts"} <= set(table.column("model").to_pylist())


def test_settings_are_chosen_without_the_evaluation_bucket_and_trained_with(finished):
    record = json.loads((finished / "results/selection/NADP_Rossmann/0.json").read_text())
    values = [candidate["value"] for candidate in record["candidates"]]
    best = record["candidates"][values.index(min(values))]["settings"]
    assert record["chosen"] == best

    def rate(folder):
        config = json.loads((finished / "results" / folder / "config.json").read_text())
        return config["facts"]["TrainSettings"]["head_learning_rate"]

    assert rate("models/pfam_clan/NADP_Rossmann/0/10/npm") == best["head_learning_rate"]
    tried = [rate(f"selection/NADP_Rossmann/0/{number}") for number in (0, 1)]
    assert tried == [1e-3, 1e-2]


def test_a_fetched_file_on_record_outlives_a_change_at_its_source(tmp_path):
    (tmp_path / "mirror").write_text(">a\nMKV\n")
    settings = {"sources": {"uniref50": ["mirror"]}, "sources_lock": "lock.tsv"}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    fetched = tmp_path / "results/sources/uniref50"
    assert snakemake(tmp_path, "results/sources/uniref50").returncode == 0
    (tmp_path / "mirror").write_text(">a\nMKVLA\n")
    again = snakemake(tmp_path, "results/sources/uniref50")
    assert again.returncode == 0, output(again)
    assert "rule fetch_source" in output(again)
    assert fetched.read_text() == ">a\nMKV\n"
    third = snakemake(tmp_path, "results/sources/uniref50")
    assert "Nothing to be done" in output(third)
    lock = tmp_path / "lock.tsv"
    lock.write_text(re.sub(r"[0-9a-f]{64}", "0" * 64, lock.read_text()))
    refused = snakemake(tmp_path, "--force", "results/sources/uniref50")
    assert refused.returncode != 0
    assert "the lock file has 000" in (tmp_path / "logs/fetch_source/uniref50.log").read_text()
    assert fetched.read_text() == ">a\nMKV\n"


def test_every_query_has_one_row_in_the_ledger(finished):
    for dataset in ("train", "test"):
        rows = [
            line.split("\t")[0]
            for ledger in sorted((finished / "results/msas" / dataset).glob("*.ledger.tsv"))
            for line in ledger.read_text().splitlines()[1:]
        ]
        assert len(rows) == len(set(rows)) == TINY["queries"]["limit"][dataset]


def test_a_second_run_has_nothing_to_do(finished):
    done = snakemake(finished, "all")
    assert done.returncode == 0
    assert "Nothing to be done" in output(done)


def test_an_edit_in_the_core_reruns_the_steps_that_use_it_and_only_those(finished, tmp_path):
    project = tmp_path / "project"
    for name in ("workflow", "rules", "envs", "docs", "npm_core"):
        shutil.copytree(ROOT / name, project / name)
    shutil.copy(ROOT / "config.yaml", project)

    def planned() -> set[str]:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "snakemake"),
                *("--snakefile", str(project / "workflow" / "Snakefile")),
                *("--directory", str(finished), "--configfile", str(finished / "settings.yaml")),
                *("--cores", "2", "--dry-run", "all", "--rerun-triggers", "params", "input"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=project,
            env={"PYTHONPATH": str(project), "PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(tmp_path)},
        )
        assert done.returncode == 0, output(done)[-3000:]
        return set(re.findall(r"^(?:local)?rule (\w+):", output(done), re.MULTILINE)) - {"all"}

    source = project / "npm_core" / "precision.py"
    code = source.read_text()
    source.write_text(code.replace('"""', '"""Prose that was not there before. ', 1))
    assert planned() == set()
    source.write_text(code + "\n\ndef added_by_a_test() -> int:\n    return 1\n")
    assert planned() == {
        "tabulate_precision",
        "write_report",
        "tabulate_ablation",
    }
    source.write_text(code)
    # What all verbs share: neither searches nor trainings, nor what these wait for.
    shared = project / "npm_core" / "progress.py"
    said = shared.read_text()
    shared.write_text(said + "\n\ndef added_by_a_test() -> int:\n    return 1\n")
    again = planned()
    assert "tabulate_precision" in again
    assert again.isdisjoint(
        {"fetch_source", "build_database", "shard_queries", "search_shard", "build_families"}
        | {"pretrain", "train_uniref50", "train_pfam_clan", "train_candidate"}
    )
    shared.write_text(said)
    with (project / "npm_core" / "templates" / "report.css").open("a") as stream:
        stream.write("p { color: red }\n")
    assert planned() == {"write_report"}


def test_commands_find_npm_core_wherever_they_run_and_by_whatever_python(tmp_path):
    other, seen = tmp_path / "bin" / "python", tmp_path / "seen"
    other.parent.mkdir()
    other.write_text(f'#!/bin/sh\necho "$PYTHONPATH" > {seen}\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(TINY))
    done = snakemake(tmp_path, "results/settings.yaml", first=str(other.parent))
    assert done.returncode == 0, output(done)[-3000:]
    assert seen.read_text() == f"{ROOT}\n"


def test_a_misspelt_setting_stops_the_run_at_once(tmp_path):
    settings = {"precision": {"contact_distnace": 8}}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    done = snakemake(tmp_path, "--dry-run", "all")
    assert done.returncode != 0
    assert "'contact_distnace' was unexpected" in output(done)


def test_the_papers_settings_and_the_slurm_profile_plan(tmp_path):
    paper = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())
    paper["queries"]["shards"] = {"train": 3, "test": 1, "targets": 2}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(paper))
    profile = str(ROOT / "workflow" / "profiles" / "slurm")
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--profile", profile, "all")
    assert done.returncode == 0, output(done)[-3000:]
    # Pfam 28.0 has so many families in each clan (C.3); another release stops extract-clan.
    sizes = {"NADP_Rossmann": 181, "HTH": 217, "P-loop_NTPase": 198, "AB_hydrolase": 67}
    found = re.findall(r"extract-clan .* --clan (\S+) --size (\d+) ", output(done))
    assert {clan: int(size) for clan, size in found} == sizes
    # Table 2: each experiment has a trunk of its own.
    made = re.findall(
        r"pretrain .* --trunk-layers (\d+) --trunk-width (\d+) .* --output (\S+) ", output(done)
    )
    pfam, uniref50 = (f"results/models/pretrained/{name}" for name in ("pfam", "uniref50"))
    assert sorted(made) == [("12", "768", pfam), ("32", "1024", uniref50)]
    begun = re.findall(
        r"npm_core train .* --init (\S+) .* --output results/models/(\w+)", output(done)
    )
    assert set(begun) == {(pfam, "pfam_clan"), (uniref50, "uniref50")}


def test_a_given_trunk_takes_the_place_of_the_pretraining(tmp_path):
    (tmp_path / "model.safetensors").touch()
    settings = TINY | {"npm": TINY["npm"] | {"trunks": {"common": {"checkpoint": "."}}}}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    card = "results/models/uniref50/README.md"
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "all", card)
    assert done.returncode == 0, output(done)[-3000:]
    trainings = re.findall(r"npm_core train .* --init (\S+) ", output(done))
    # Of UniRef50, of three heads and depths of the clan, and of two candidates.
    assert trainings == ["."] * (1 + 3 + 2)
    assert "npm_core pretrain" not in output(done)
    assert "--pretrained" not in output(done)


def test_own_alignments_and_structures_run_from_alignments_on(finished, tmp_path):
    targets = pq.read_table(finished / "results/structures/targets/0000.parquet").to_pylist()
    families = {
        row["id"]: row
        for row in pq.read_table(
            finished / "results/families/uniref50/targets/0000.parquet"
        ).to_pylist()
    }
    lines = ["id\talignment\tstructure\tchain\tsplit"]
    for number, target in enumerate(targets):
        entry, chain = target["source"].split("_")
        structure = next((finished / "results/universe/pdb/mmCIF").glob(f"*/{entry}.cif.gz"))
        alignment = tmp_path / f"{number}.fasta"
        alignment.write_text(f">{target['id']}\n{families[target['id']]['query']}\n")
        split = "test" if number == 0 else "train"
        lines.append(f"f{number}\t{alignment}\t{structure}\t{chain}\t{split}")
    (tmp_path / "table.tsv").write_text("\n".join(lines) + "\n")
    shutil.copy(finished / "results/queries/train.fasta", tmp_path)
    settings = TINY | {
        "source": "local",
        "local": {"uniref50": "table.tsv", "pfam_clan": None, "sequences": "train.fasta"},
    }
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    done = snakemake(tmp_path, "all")
    assert done.returncode == 0, output(done)[-5000:]
    assert (tmp_path / "reports" / "uniref50.html").exists()
    assert not (tmp_path / "reports" / "pfam_clan.html").exists()


def test_packaged_profiles_and_sequences_deepen_the_families_of_a_clan(finished, tmp_path):
    clan = "NADP_Rossmann"
    targets = pq.read_table(finished / f"results/clans/{clan}/targets.parquet").to_pylist()
    packages = tmp_path / "results" / "packages"
    packages.mkdir(parents=True)
    # What a wheel and BLAST databases give on a real machine is here already.
    shutil.copy(finished / "results/universe/uniprot.fasta.gz", packages / "sequences.fasta.gz")
    alphabet = Alphabet.amino()
    lines = ["id\tclan\talignment\tstructure\tchain"]
    with (packages / "profiles.h3m").open("wb") as stream:
        for target in targets:
            seed = TextSequence(name="seed", sequence=target["sequence"])
            msa = TextMSA(name=target["id"], sequences=[seed]).digitize(alphabet)
            profile, _, _ = Builder(alphabet).build_msa(msa, Background(alphabet))
            profile.accession = target["id"]
            profile.cutoffs.gathering = (25.0, 25.0)
            profile.write(stream, binary=True)
            entry, chain = target["source"].split("_")
            (structure,) = (finished / "results/universe/pdb/mmCIF").glob(f"*/{entry}.cif.gz")
            alignment = tmp_path / f"{target['id']}.fasta"
            alignment.write_text(f">seed\n{target['sequence']}\n")
            lines.append(f"{target['id']}\t{clan}\t{alignment}\t{structure}\t{chain}")
    (tmp_path / "table.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "unread.fasta").touch()
    settings = TINY | {
        "source": "packages",
        "local": {"uniref50": None, "pfam_clan": "table.tsv", "sequences": "unread.fasta"},
        "sources": {
            "pfam_clans": [str(finished / "results/universe/pfam/Pfam-A.clans.tsv.gz")],
        },
        "packages": {"shards": 2},
    }
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    done = snakemake(tmp_path, f"results/families/pfam_clan/{clan}.parquet")
    assert done.returncode == 0, output(done)[-5000:]
    depths = {
        row["id"]: row["depth"]
        for row in pq.read_table(
            tmp_path / f"results/families/pfam_clan/{clan}.parquet"
        ).to_pylist()
    }
    assert depths.keys() == {target["id"] for target in targets}
    assert max(depths.values()) > 5
    rows = [
        line.split("\t")[:2]
        for ledger in sorted((packages / clan).glob("*.ledger.tsv"))
        for line in ledger.read_text().splitlines()[1:]
    ]
    # Families of the clan without a structure have no profile here.
    assert len(rows) == TINY["universe"]["families_per_clan"]
    assert sorted(name for name, status in rows if status == "ok") == sorted(depths)
    imported = pq.read_table(tmp_path / f"results/imported/{clan}/targets.parquet")
    assert set(imported.column("id").to_pylist()) == {target["id"] for target in targets}
