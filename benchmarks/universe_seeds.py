"""Does the Neural Potts Model win at low depth, for the right reason? Several generated universes.

    python benchmarks/universe_seeds.py DIR [SEED ...] > universe.tsv

Each seed draws a universe and trains on it (config/universe.yaml, by the workflow, in DIR/SEED);
what is finished is not run again. One line a seed, and one of all targets together: NPM's
long-range P@L/5 on targets of Meff <= 15 minus that of the independent Potts model, and minus its
own on a shuffled query, each with its 95 % bootstrap interval over targets.
"""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

from npm_core.comparison import compare_models
from npm_core.files import write_text
from npm_core.precision import MEFF_EDGES

ROOT = Path(__file__).parent.parent
SEEDS = ("1", "2", "3", "4", "5")
TABLE = "results/precision/uniref50/0000.parquet"
BASELINES = ("potts", "npm_shuffled", "prior", "chance")


def run(folder: Path, seed: int) -> pd.DataFrame:
    """The precision table of one universe."""
    settings = yaml.safe_load((ROOT / "config" / "universe.yaml").read_text())
    settings["seed"] = seed
    settings["universe"]["seed"] = seed
    write_text(folder / "settings.yaml", yaml.safe_dump(settings))
    subprocess.run(
        [
            *("snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile")),
            *("--directory", str(folder), "--configfile", str(folder / "settings.yaml")),
            *("--cores", str(len(os.sched_getaffinity(0))), "--quiet", "rules", "--", TABLE),
        ],
        check=True,
        stdout=sys.stderr,
    )
    return pd.read_parquet(folder / TABLE).assign(seed=str(seed))


def main() -> None:
    """One line a seed and baseline, and one a baseline of all seeds."""
    folder, *seeds = sys.argv[1:] or [""]
    if not folder or not all(seed.isdecimal() for seed in seeds):
        sys.exit(__doc__)
    table = pd.concat([run(Path(folder) / seed, int(seed)) for seed in seeds or SEEDS])
    shallow = table[
        (table["range"] == "long") & (table["cutoff"] == "L/5") & (table["meff"] <= MEFF_EDGES[0])
    ]
    lines = [
        compare_models(part, "npm", baseline, ["seed"], pair_on=["universe", "id"], seed=0).assign(
            baseline=baseline
        )
        for part in (
            shallow.assign(universe=shallow["seed"]),
            shallow.assign(universe=shallow["seed"], seed="all"),
        )
        for baseline in BASELINES
    ]
    columns = ["seed", "baseline", "n", "difference", "low", "high", "win_rate"]
    found = pd.concat(lines)[columns].round(3)
    print(found.to_csv(sep="\t", index=False), end="")


if __name__ == "__main__":
    main()
