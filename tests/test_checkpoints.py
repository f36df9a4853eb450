"""A model on disk is whole, or it is not read; one that cannot be written leaves the one before."""

import dataclasses
import hashlib
import json

import pytest
import torch
from model_inputs import TINY, _Harmful
from training_inputs import LOOP, files_of_at_most, make_task

from npm_core.architecture import HeadSettings
from npm_core.checkpoints import load_model, model_to_train, save_model
from npm_core.cli import main
from npm_core.errors import DataError, OutputError, SettingsError
from npm_core.model import K, MaskedLanguageModel, NeuralPottsModel
from npm_core.trunks import build_trunk


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: 5, "expected the settings"),
        (lambda config: None, "expected the settings"),
        (lambda config: {**config, "trunk": None}, "trunk: None"),
        (lambda config: {**config, "head": []}, "head: []"),
        (lambda config: {**config, "trunk": {**config["trunk"], "kind": "esm9"}}, "esm9"),
        (lambda config: {**config, "head": {**config["head"], "kind": "bound"}}, "bound"),
        (lambda config: {**config, "head": {**config["head"], "rank": 10**12}}, "rank is"),
        (lambda config: {**config, "head": {"initial_coupling": float("nan")}}, "nan"),
        (lambda config: {**config, "facts": None}, "facts"),
    ],
)
def test_a_config_of_other_types_is_refused(saved, change, message, capsys):
    path = saved[0] / "config.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert main(["describe", str(saved[0])]) == 2
    assert message in capsys.readouterr().err
    with pytest.raises((DataError, SettingsError)):
        load_model(saved[0])


def test_describe_reads_the_numbers_of_json_and_refuses_what_is_no_text(saved, tmp_path, capsys):
    path = saved[0] / "config.json"
    path.write_text(
        path.read_text().replace('"initial_coupling": 0.01', '"initial_coupling": 1e-05')
    )
    assert "1e-05" in path.read_text()
    assert main(["describe", str(saved[0])]) == main(["describe", str(path)]) == 0
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    assert main(["describe", str(tmp_path / "bytes")]) == 2
    assert "neither JSON nor YAML" in capsys.readouterr().err


@pytest.fixture
def saved(tmp_path):
    model = NeuralPottsModel(build_trunk(TINY), HeadSettings(rank=2))
    save_model(tmp_path / "npm", model, {"note": "test"})
    return tmp_path / "npm", model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "potts"}, r"a checkpoint of kind 'potts', expected one of trunk, masked_"),
        ({"head": None}, "a neural_potts_model has a head, and its settings are null"),
        ({"trunk": {"width": 4, "attention_heads": 16}}, r"width 4 over 16 attention heads"),
    ],
)
def test_a_config_of_no_model_is_named(saved, change, message):
    path = saved[0] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises((DataError, SettingsError), match=rf"npm.config\.json(, trunk)?: {message}"):
        load_model(saved[0])


def test_a_saved_model_comes_back_whole(saved):
    folder, model = saved
    found = load_model(folder)
    assert isinstance(found, NeuralPottsModel)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, found.state_dict()[name])


def change_weights(folder, change):
    """Rewrite the weights, and the digest with them."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps({**config, "sha256": digest}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("fields.weight"), "1 weights are missing"),
        (lambda weights: weights.update(other=torch.zeros(1)), "1 are unknown"),
        (lambda weights: weights.update({"fields.weight": torch.zeros(K, 9)}), "expected"),
    ],
)
def test_a_checkpoint_with_other_weights_is_refused(saved, change, message):
    change_weights(saved[0], change)
    with pytest.raises(DataError, match=message):
        load_model(saved[0])


def test_a_checkpoint_that_was_damaged_is_refused(saved):
    path = saved[0] / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="sha256"):
        load_model(saved[0])


def test_a_pickle_in_place_of_the_weights_is_refused(saved):
    folder = saved[0]
    torch.save({"fields.weight": _Harmful()}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="not a safetensors file"):
        load_model(folder)


def test_a_checkpoint_of_another_alphabet_is_refused(saved):
    path = saved[0] / "config.json"
    path.write_text(path.read_text().replace("ARNDC", "ACDNR"))
    with pytest.raises(DataError, match="alphabet"):
        load_model(saved[0])


def test_a_checkpoint_with_an_unknown_setting_is_refused(saved):
    path = saved[0] / "config.json"
    path.write_text(path.read_text().replace('"layers"', '"depth"'))
    with pytest.raises(SettingsError, match="depth"):
        load_model(saved[0])


def test_training_starts_from_the_trunk_of_a_language_model(tmp_path):
    model = MaskedLanguageModel(build_trunk(TINY))
    save_model(tmp_path / "mlm", model, {})
    npm = model_to_train(str(tmp_path / "mlm"), lambda settings: settings)
    torch.testing.assert_close(npm.trunk.embed.weight, model.trunk.embed.weight)
    with pytest.raises(SettingsError, match="asked for"):
        model_to_train(str(tmp_path / "mlm"), lambda settings: type(settings)())
