"""A model on disk is whole, or it is not read; one that cannot be written leaves the one before."""

import dataclasses

import pytest
import torch
from training_inputs import LOOP, files_of_at_most, make_task

from npm_core.checkpoints import load_model, save_model
from npm_core.errors import DataError, OutputError


def test_weights_that_are_not_finite_are_not_saved(shard, tmp_path):
    model = make_task(shard).model
    with torch.no_grad():
        model.fields.weight[0, 0] = float("nan")
    with pytest.raises(DataError, match=r"fields\.weight holds NaN.*diverged"):
        save_model(tmp_path / "npm", model, {})
    assert not (tmp_path / "npm").exists()


@pytest.mark.parametrize(("size", "facts"), [(2000, 0), (1 << 20, 2 << 20)])
def test_a_full_disk_leaves_the_model_before(shard, tmp_path, size, facts):
    model = make_task(shard).model
    save_model(tmp_path / "npm", model, {})
    other = make_task(shard, dataclasses.replace(LOOP, seed=1)).model
    with files_of_at_most(size), pytest.raises(OutputError, match="still whole"):
        save_model(tmp_path / "npm", other, {"long": "x" * facts})
    found = load_model(tmp_path / "npm").state_dict()
    assert all(torch.equal(value, found[name]) for name, value in model.state_dict().items())
