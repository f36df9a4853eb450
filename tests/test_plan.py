"""What the workflow tells each step: its files and settings, none of which is a verb's default."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

TOLD = {
    "seed": 5,
    "split": {"test_share": 0.23, "salt": "pepper"},
    "queries": {"shards": {"train": 1, "test": 1, "targets": 1}},
    "database": {"identity": 0.31, "coverage": 0.82, "max_memory_gib": 5},
    "search": {"iterations": 4, "e_value": 0.002, "max_memory_gib": 2, "max_length": 900},
    "families": {
        "filter_identity": 91,
        "filter_coverage": 11,
        "filter_diff": 12,
        "identity_threshold": 0.77,
    },
    "coverage_sweep": {"alignments": 13, "coverages": [14, 15]},
    "structures": {
        "min_resolved": 0.55,
        "select": {"max_resolution": 2.1, "min_length": 41, "deposited_before": "2019-05-01"},
        "assign": {
            "identity": 0.51,
            "coverage": 0.83,
            "cluster_identity": 0.52,
            "cluster_coverage": 0.84,
            "max_hits": 301,
            "max_memory_gib": 6,
            "unit": "chain",
        },
    },
    "pfam_clan": {
        "clans": ["HTH"],
        "max_rows": 999,
        "buckets": 3,
        "rounds": 1,
        "depths": [10],
        "without_rounds": [0],
        "ablations": {"tied": {"kind": "tied", "rank": 3}},
        "ablation_depths": [10],
        "targets": {"min_identity": 0.91, "min_coverage": 0.53, "max_attempts": 19},
        "selection": {"grid": {"head_learning_rate": [0.25, 0.5]}, "depth": 30},
    },
    "neighbours": {"e_value": 0.003, "max_memory_gib": 7},
    "potts": {"objective": "paper", "stop_rel": 0.002, "centre": "mean"},
    "prior": {"weight": 0.4},
    "precision": {"contact_distance": 7.5},
}
POTTS = "--objective paper --stop-rel 0.002 --centre mean --identity-threshold 0.77"
FILTER = "--filter-identity 91 --filter-coverage 11 --filter-diff 12 --identity-threshold 0.77"
ROUND, NEXT = "results/reductions/HTH/0", "results/reductions/HTH/1"
MODELS, NEAREST = "results/models/pfam_clan/HTH", "results/neighbours/pfam_clan/HTH"
CLAN = "results/families/pfam_clan/HTH.parquet"


def dry_run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What Snakemake says it would do, started from `folder`."""
    return subprocess.run(
        [
            *(str(BIN / "snakemake"), "--snakefile", str(ROOT / "workflow" / "Snakefile")),
            *("--directory", str(folder), "--cores", "2", "--dry-run", *words),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> dict[str, dict[str, list[str]]]:
    """The command of each job of a plan whose settings are no verb's defaults, by its log."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "settings.yaml").write_text(yaml.safe_dump(TOLD))
    told = ["--configfile", str(folder / "settings.yaml"), "--printshellcmds"]
    done = dry_run(folder, "all", *told)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    found = re.findall(r"-m npm_core (.*) > logs/(\S+)\.log", done.stdout + done.stderr)
    return {log: by_flag(command) for command, log in found}


def by_flag(command: str) -> dict[str, list[str]]:
    """Words of a command behind each flag, and behind none."""
    words: dict[str, list[str]] = {}
    flag = ""
    for word in shlex.split(command):
        flag = word if word.startswith("--") else flag
        words.setdefault(flag, []).extend([] if word == flag else [word])
    return words


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ("split_queries", "--test-share 0.23 --salt pepper"),
        ("split_queries", "--train results/queries/train.fasta"),
        ("split_queries", "--test results/queries/test.fasta"),
        ("shard_queries/targets", "--shards 1 --max-queries 60 --may-be-empty"),
        ("build_database", "--identity 0.31 --coverage 0.82 --max-memory-gib 5"),
        ("search_shard/train/0000", "--iterations 4 --e-value 0.002"),
        ("search_shard/targets/0000", "--max-memory-gib 2 --max-length 900"),
        ("build_families/train/0000", FILTER),
        ("build_families/targets/0000", FILTER),
        ("build_clan_families/HTH", FILTER),
        ("extract_clan/HTH", "--clan HTH --max-rows 999 --output results/clans/HTH"),
        ("sweep_coverage", "--alignments 13 --coverages 14 15"),
        ("sweep_coverage", "--filter-identity 91 --filter-diff 12"),
        ("select_structures", "--max-resolution 2.1 --min-length 41 --deposited-before 2019-05-01"),
        ("assign_structures", "--train results/queries/train.fasta"),
        ("assign_structures", "--test results/queries/test.fasta"),
        ("assign_structures", "--identity 0.51 --coverage 0.83"),
        ("assign_structures", "--cluster-identity 0.52 --cluster-coverage 0.84"),
        ("assign_structures", "--max-hits 301 --max-memory-gib 6 --unit chain"),
        ("choose_clan_targets/HTH", "--min-identity 0.91 --min-coverage 0.53 --max-attempts 19"),
        ("choose_clan_targets/HTH", "--min-resolved 0.55"),
        ("build_targets/0000", "--min-resolved 0.55"),
        ("split_buckets/HTH", "--buckets 3 --seed 5"),
        ("reduce_families/HTH/0/10", "--round 0 --depth 10 --seed 5 --identity-threshold 0.77"),
        ("pretrain/common", "--fasta results/queries/train.fasta"),
        ("pretrain/common", "--validation results/queries/test/0000.fasta"),
        ("pretrain/common", "--scratch checkpoints/pretrained/common"),
        ("train_uniref50", "--init results/models/pretrained/common"),
        ("train_uniref50", "--query first"),
        ("train_uniref50", "--validation results/families/uniref50/test/0000.parquet"),
        ("train_pfam_clan/HTH/0/10/npm", "--query random --weighting sqrt_meff"),
        ("train_pfam_clan/HTH/0/10/npm", f"--families {CLAN} --replace {ROUND}/10/reduced.parquet"),
        ("train_pfam_clan/HTH/0/10/npm", f"--validation {ROUND}/full/target_msas.parquet"),
        ("train_pfam_clan/HTH/0/10/npm", f"--validation-targets {ROUND}/full/targets.parquet"),
        ("train_pfam_clan/HTH/0/10/npm", "--choice results/selection/HTH/0.json"),
        ("train_pfam_clan/HTH/0/10/npm", "--head-kind untied --head-rank 8"),
        ("train_pfam_clan/HTH/0/10/tied", "--head-kind tied --head-rank 3"),
        # The control learns nothing of the bucket, whole or reduced.
        ("train_pfam_clan/HTH/0/0/npm", f"--without {ROUND}/full/reduced.parquet"),
        # Settings are chosen on the next bucket, and the evaluation bucket is not there.
        ("train_candidate/HTH/0/1", f"--without {ROUND}/full/reduced.parquet"),
        ("train_candidate/HTH/0/1", f"--replace {NEXT}/30/reduced.parquet"),
        ("train_candidate/HTH/0/1", f"--validation {NEXT}/full/target_msas.parquet"),
        ("train_candidate/HTH/0/1", f"--validation-targets {NEXT}/full/targets.parquet"),
        ("train_candidate/HTH/0/1", "--query random --weighting sqrt_meff"),
        ("train_candidate/HTH/0/1", "--head-learning-rate 0.5"),
        ("fit_potts/uniref50/0000", POTTS),
        ("fit_potts/pfam_clan/HTH/0/10", f"--families {ROUND}/10/target_msas.parquet"),
        ("fit_potts/pfam_clan/HTH/0/10", POTTS),
        ("fit_potts_with_prior/uniref50/0000", f"--prior-weight 0.4 {POTTS}"),
        ("fit_potts_with_prior/pfam_clan/HTH/0/10", f"--checkpoint {MODELS}/0/10/npm"),
        ("transfer_nearest/uniref50/0000", f"{POTTS} --seed 5"),
        ("transfer_nearest/pfam_clan/HTH/0", f"--families {CLAN} {POTTS} --seed 5"),
        ("predict_npm/uniref50/0000/npm", "--model npm --shuffle-seed 5"),
        ("predict_npm/uniref50/0000/npm", "--centre mean"),
        ("predict_npm/pfam_clan/HTH/0/10/npm", f"--checkpoint {MODELS}/0/10/npm"),
        ("predict_npm/pfam_clan/HTH/0/10/npm", f"--neighbours {NEAREST}/0.parquet"),
        ("predict_npm/pfam_clan/HTH/0/10/npm", f"--families {CLAN} --sister-seed 5 --centre mean"),
        ("predict_npm/pfam_clan/HTH/0/0/npm", f"--checkpoint {MODELS}/0/0/npm"),
        ("predict_npm/pfam_clan/HTH/0/0/npm", "--model npm_without"),
        ("find_clan_neighbours/HTH/0", "--buckets results/buckets/HTH.tsv --round 0"),
        ("find_clan_neighbours/HTH/0", "--profiles results/clans/HTH/seed"),
        ("find_uniref50_neighbours", "--e-value 0.003 --max-memory-gib 7"),
        ("tabulate_precision/uniref50/0000", "--contact-distance 7.5"),
        (
            "tabulate_precision/pfam_clan/HTH/0/10",
            f"--targets {ROUND}/10/targets.parquet --scores "
            + " ".join(
                f"results/contacts/pfam_clan/HTH/0/{name}.parquet"
                for name in ("10/potts", "10/prior", "10/npm", "nearest", "0/npm")
            )
            + " --contact-distance 7.5 --column clan=HTH round=0 reduced_depth=10",
        ),
        (
            "tabulate_ablation/pfam_clan/HTH/0/10/tied",
            "--contact-distance 7.5 --column clan=HTH round=0 reduced_depth=10"
            " --column variant=tied",
        ),
    ],
)
def test_a_step_is_told_its_files_and_its_settings(planned, job, told):
    found, expected = planned[job], by_flag(told)
    assert {flag: found.get(flag) for flag in expected} == expected


@pytest.mark.parametrize(
    ("job", "flag"),
    [
        ("train_pfam_clan/HTH/0/10/npm", "--without"),
        ("train_pfam_clan/HTH/0/0/npm", "--replace"),
        ("train_pfam_clan/HTH/0/0/npm", "--validation-reduced"),
        ("predict_npm/pfam_clan/HTH/0/0/npm", "--shuffle-seed"),
        ("train_uniref50", "--weighting"),
        ("shard_queries/train", "--may-be-empty"),
        ("shard_queries/test", "--may-be-empty"),
    ],
)
def test_a_step_is_told_nothing_of_what_is_anothers(planned, job, flag):
    assert flag not in planned[job]


def test_a_source_that_is_none_is_said_to_have_no_rule(tmp_path):
    for name in ("uniref5", "structures"):
        done = dry_run(tmp_path, f"results/sources/{name}")
        said = done.stdout + done.stderr
        assert done.returncode == 1
        assert f"No rule to produce results/sources/{name}" in said
        assert "Traceback" not in said


def test_digests_are_of_the_code_beside_the_snakefile_whichever_is_installed(tmp_path):
    for name in ("workflow", "rules", "npm_core"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "config.yaml", tmp_path)
    with (tmp_path / "npm_core" / "code_digest.py").open("a") as stream:
        stream.write('\nraise RuntimeError("the code of this clone")\n')
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [
            *(str(BIN / "snakemake"), "--snakefile", str(tmp_path / "workflow" / "Snakefile")),
            *("--directory", str(tmp_path / "elsewhere"), "--dry-run", "results/settings.yaml"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert "the code of this clone" in done.stdout + done.stderr
