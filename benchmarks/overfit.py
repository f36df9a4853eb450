"""Can the Neural Potts Model learn some families by heart? Its loss against independent fits.

    python benchmarks/overfit.py [--families 20] [--steps 1000]

Generated families: an ancestor whose residues mutate, and pairs of positions that change together.
For each, the loss of eq. (8) over all rows of what the trained model predicts from the first row
alone, and the same loss at the minimum of an independent Potts model, in nats a residue.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from npm_core import plm, plm_sparse
from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.families import Families
from npm_core.loop import fit
from npm_core.model import NeuralPottsModel
from npm_core.npm_loss import npm_loss
from npm_core.tables import Family, write_families
from npm_core.team import Team
from npm_core.training import NpmTask
from npm_core.training_settings import LoopSettings, ObjectiveSettings, TrainSettings
from npm_core.trunks import build_trunk

DEPTH = 10


def generate(number: int, rng: np.random.Generator) -> Family:
    """A family of 8 to 12 positions, a third of which are partners of another third."""
    length = int(rng.integers(8, 13))
    ancestor = rng.integers(0, 20, length)
    mutated = rng.random((DEPTH, length)) < 0.4
    rows = np.where(mutated, rng.integers(0, 21, (DEPTH, length)), ancestor)
    positions = rng.permutation(length)[: length // 3 * 2].reshape(2, -1)
    for i, j in positions.T:
        together = rng.random(DEPTH) < 0.7
        rows[together, j] = rng.permutation(21)[rows[together, i]]
    rows[0] = ancestor
    return Family(f"f{number}", rows.astype(np.uint8), np.ones(DEPTH, np.float32))


def train(families: list[Family], objective: ObjectiveSettings, steps: int) -> NeuralPottsModel:
    """A model that has seen all rows of all families."""
    loop = LoopSettings(
        steps=steps,
        batch=len(families),
        micro_batch=len(families),
        warm_up=20,
        decay="cosine",
        clip=10.0,
        validate_every=steps,
        checkpoint_every=steps,
    )
    torch.manual_seed(0)
    model = NeuralPottsModel(
        build_trunk(TrunkSettings("rotary", layers=1, width=256, attention_heads=4)),
        HeadSettings(rank=16),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_families(folder / "families.parquet", families, {})
        task = NpmTask(
            model,
            Families([folder / "families.parquet"]),
            train=TrainSettings(rows=40, head_learning_rate=1e-3, trunk_learning_rate=1e-3),
            objective=objective,
            loop=loop,
        )
        fit(task, scratch=folder, metrics=folder / "metrics.csv", team=Team())
    return model.eval()


def losses(
    model: NeuralPottsModel, family: Family, objective: ObjectiveSettings
) -> tuple[float, float]:
    """Loss of eq. (8) in nats a residue: what the model predicts, and the independent fit."""
    rows = torch.from_numpy(family.residues.astype(np.int64))
    with torch.no_grad():
        fields, couplings = model(rows[0])
        predicted = float(npm_loss(fields, couplings, rows, objective).total)
    penalty = plm.paper_penalty(
        family.depth,
        lambda_fields=objective.lambda_fields,
        lambda_couplings=objective.lambda_couplings,
    )
    alone = plm_sparse.fit(plm.Problem(family.residues, np.ones(family.depth), penalty))
    return predicted / family.length, alone.objective / family.depth / family.length


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--families", type=int, default=20)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--lambda-couplings", type=float, default=1e-2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    families = [generate(number, rng) for number in range(args.families)]
    objective = ObjectiveSettings(lambda_couplings=args.lambda_couplings)
    started = time.process_time()
    model = train(families, objective, args.steps)
    seconds = time.process_time() - started
    found = np.array([losses(model, family, objective) for family in families])
    ratio = found[:, 0] / found[:, 1]
    print("family\tlength\tNPM\tindependent\tratio")
    for family, (npm, alone), r in zip(families, found, ratio, strict=True):
        print(f"{family.id}\t{family.length}\t{npm:.4f}\t{alone:.4f}\t{r:.4f}")
    means = found.mean(0)
    print(
        f"mean\t\t{means[0]:.4f}\t{means[1]:.4f}\t{means[0] / means[1]:.4f}\t"
        f"worst {ratio.max():.4f}, {args.steps} updates, {seconds:.0f} CPU s"
    )


if __name__ == "__main__":
    main()
