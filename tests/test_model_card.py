import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import npm_core
from npm_core.architecture import HeadSettings, TrunkSettings
from npm_core.checkpoints import model_settings
from npm_core.errors import DataError
from npm_core.flops import head_flops, training_flops, trunk_flops
from npm_core.model import HEADS, K
from npm_core.npm_loss import cheapest_form, npm_loss
from npm_core.report import model_card
from npm_core.training_settings import ObjectiveSettings

CONFIG = {
    "kind": "masked_language_model",
    "alphabet": "ARNDCQEGHILKMFPSTWYV-",
    "trunk": {"kind": "rotary", "layers": 2, "width": 8, "attention_heads": 2},
    "head": None,
    "sha256": "",
    "facts": {"LoopSettings": {"batch": 4}},
}


def test_a_transformer_layer_is_twelve_matrices_of_its_width_and_two_products_of_its_length():
    length, d = 10, 8
    layer = 2 * length * 12 * d**2 + 2 * (2 * length**2 * d)
    settings = TrunkSettings("rotary", layers=3, width=d, attention_heads=2)
    assert trunk_flops(settings, length) == 3 * layer


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize(("rank", "form"), [(2, "matrix_free"), (8, "symmetric")])
def test_operations_of_a_head_and_its_loss_are_those_that_torch_counts(kind, rank, form):
    head, length, rows = HeadSettings(kind, rank=rank, channels=5), 12, 2
    assert {cheapest_form(length=length, rank=r, depth=rows) for r in (rank, 2 * rank)} == {form}
    trunk = TrunkSettings("rotary", layers=1, width=8, attention_heads=2)
    made = HEADS[kind](trunk.width, head)
    states = torch.zeros(rows, length, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        npm_loss(torch.zeros(length, K), made(torch.randn(length, 8)), states, ObjectiveSettings())
    assert head_flops(trunk, head, length, rows) == counter.get_total_flops()


def test_a_backward_pass_costs_two_forward_passes_of_what_is_trained():
    trunk = TrunkSettings("rotary", layers=2, width=8, attention_heads=2)
    head = HeadSettings(rank=3)
    read, made = trunk_flops(trunk, 10), head_flops(trunk, head, 10, 4)
    assert training_flops(trunk, None, 10, 0) == 3 * read
    assert training_flops(trunk, head, 10, 4) == 3 * read + 3 * made
    assert training_flops(trunk, head, 10, 4, frozen=True) == read + 3 * made


@pytest.mark.parametrize("frozen", [False, True])
def test_operations_of_a_training_count_its_rows_and_what_was_frozen(tmp_path, frozen):
    small = Path(npm_core.__file__).parent / "small_model"
    config = json.loads((small / "config.json").read_text())
    config["facts"]["TrainSettings"] |= {"rows": 7, "frozen": frozen}
    config["facts"]["LoopSettings"]["batch"] = 4
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "metrics.csv").write_text("step,epoch,seconds,loss,residues\n20,1,90,2.9,100\n")
    one = training_flops(*model_settings(config, "here"), 100, 7, frozen=frozen)
    assert model_card.stage("npm", tmp_path).flops == 20 * 4 * one


def test_a_long_curve_is_shown_at_even_steps_from_its_first_to_its_last_update(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    rows = "".join(f"{step},1,90,2.9,100\n" for step in range(1, 24))
    (tmp_path / "metrics.csv").write_text(f"step,epoch,seconds,loss,residues\n{rows}")
    _, *shown = model_card.stage("language", tmp_path).curve
    assert [int(step) for step, _ in shown] == list(range(1, 24, 2))


def test_the_record_of_a_training_adds_up(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "metrics.csv").write_text(
        "step,epoch,seconds,loss,residues\n0,0,0,,\n20,0.5,90,2.9,100\n30,0.75,180,2.5,40\n"
    )
    stage = model_card.stage("language", tmp_path)
    assert (stage.updates, stage.batch, stage.hours) == (30, 4, 0.05)
    # 20 updates of 4 sequences of 100 residues, 10 of 40; 120 sequences are three quarters.
    assert stage.residues == 4 * (20 * 100 + 10 * 40)
    assert stage.proteins == 160
    trunk = TrunkSettings("rotary", layers=2, width=8, attention_heads=2)
    assert stage.flops == 3 * 120 * trunk_flops(trunk, 80)
    assert stage.curve == [["update", "loss"], ["20", "2.900"], ["30", "2.500"]]


def test_a_checkpoint_without_a_record_of_its_training_has_no_card(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "facts": {}}))
    with pytest.raises(DataError, match="records no LoopSettings"):
        model_card.stage("language", tmp_path)


def test_metrics_without_residues_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "metrics.csv").write_text("step,epoch,seconds,loss\n20,0.5,90,2.9\n")
    with pytest.raises(DataError, match="no update with its number of residues"):
        model_card.stage("language", tmp_path)


def test_a_curve_says_that_its_pseudolikelihoods_are_to_be_minimised(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "metrics.csv").write_text(
        "step,epoch,seconds,validation_pseudolikelihood,residues\n20,0.5,90,2.9,100\n"
    )
    stage = model_card.stage("npm", tmp_path)
    assert stage.curve == [["update", "validation negative log-pseudolikelihood"], ["20", "2.900"]]


@pytest.mark.parametrize(("count", "shown"), [(4, "(too few, n = 4)"), (5, "(+0.100 to +0.100)")])
def test_a_handful_of_proteins_gives_no_interval(count, shown):
    rows = [
        {"model": model, "id": f"t{n}", "split": "test", "meff": 3.0, "precision": precision}
        for n in range(count)
        for model, precision in zip(
            ("npm", "potts", "prior", "npm_shuffled", "chance"),
            (0.3, 0.2, 0.3, 0.2, 0.2),
            strict=True,
        )
    ]
    table = pd.DataFrame(rows).assign(range="long", cutoff="L/5")
    assert model_card.results(table, seed=0)[1][4] == f"0.200; +0.100 {shown}"


def test_results_are_means_and_paired_differences_of_each_bin(monkeypatch):
    monkeypatch.setattr(model_card, "FEWEST", 1)
    rows = [
        (model, name, split, meff, precision)
        for name, split, meff, precisions in (
            ("a", "train", 3.0, (0.5, 0.2, 0.6, 0.3, 0.1)),
            ("b", "train", 15.0, (0.3, 0.4, 0.4, 0.1, 0.1)),
            ("c", "test", 15.1, (0.0, 0.4, 0.5, 0.0, 0.1)),
        )
        for model, precision in zip(
            ("npm", "potts", "prior", "npm_shuffled", "chance"), precisions, strict=True
        )
    ]
    table = pd.DataFrame(rows, columns=["model", "id", "split", "meff", "precision"])
    table["range"], table["cutoff"] = "long", "L/5"
    other = table.assign(cutoff="L", precision=1.0)
    unaligned = table[table["model"].isin(["npm", "npm_shuffled", "chance"])].assign(
        id="d", meff=float("nan"), precision=1.0
    )
    found = model_card.results(pd.concat([table, other, unaligned]), seed=0)
    _, train, all_train, test, all_test, both_shallow, both_deeper, both = found
    assert train[:4] == ["train", "(0, 15]", "2", "0.400"]
    assert train[4].startswith("0.300; +0.100 (-0.100 to +0.300)")
    assert train[5].startswith("0.500; -0.100 (-0.100 to -0.100)")
    assert train[6].startswith("0.200; +0.200 (+0.200 to +0.200)")
    assert train[-2:] == ["50%", "+0.200 (+0.000 to +0.400)"]
    assert test[:4] == ["test", "(15, 50]", "1", "0.000"]
    assert test[-2:] == ["0%", "+0.100 (+0.100 to +0.100)"]
    assert all_train == ["train", "all", *train[2:]]
    assert all_test == ["test", "all", *test[2:]]
    assert both_shallow == ["both", *train[1:]]
    assert both_deeper == ["both", *test[1:]]
    assert both[:4] == ["both", "all", "3", "0.267"]


def test_of_what_a_table_lacks_the_results_have_no_column_or_a_dash():
    rows = [
        *(("npm", name, 3.0, 0.5) for name in "ab"),
        *(("chance", name, 3.0, 0.1) for name in "ab"),
        ("potts", "c", 3.0, 0.3),
        ("npm", "d", 15.1, 0.4),
        ("potts", "d", 15.1, 0.2),
    ]
    table = pd.DataFrame(rows, columns=["model", "id", "meff", "precision"])
    table = table.assign(split="test", range="long", cutoff="L/5")
    head, shallow, deeper, *_ = model_card.results(table, seed=0)
    assert head[4:6] == [model_card.MODELS[name].name for name in ("potts", "chance")]
    assert shallow[:5] == ["test", "(0, 15]", "2", "0.500", "-"]
    assert shallow[5].startswith("0.100; +0.400")
    assert shallow[6:] == ["-", "-"]
    assert deeper[4].startswith("0.200; +0.200")
    assert deeper[5:] == ["-", "100%", "-"]


def test_an_empty_file_of_metrics_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "metrics.csv").touch()
    with pytest.raises(DataError, match=r"metrics\.csv: not a table of metrics"):
        model_card.stage("language", tmp_path)


def test_a_model_on_a_given_trunk_has_a_card_without_a_pretraining(tmp_path):
    small = Path(npm_core.__file__).parent / "small_model"
    for name in ("config.json", "model.safetensors"):
        shutil.copy(small / name, tmp_path)
    (tmp_path / "metrics.csv").write_text("step,epoch,seconds,loss,residues\n20,0.5,90,2.9,100\n")
    rows = [
        (model, name, "train", 3.0, precision, "long", "L/5")
        for model in ("npm", *model_card.BASELINES)
        for name, precision in (("a", 0.5), ("b", 0.3))
    ]
    columns = ["model", "id", "split", "meff", "precision", "range", "cutoff"]
    card = model_card.render(
        tmp_path,
        pretrained=None,
        precision=pd.DataFrame(rows, columns=columns),
        about={"data": "Mine.", "licence": "Mine."},
        seed=0,
    )
    assert "Neural Potts Model:" in card
    assert "masked language modelling" not in card
