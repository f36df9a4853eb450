"""Files of models: round trips to each format's precision, files written by hand, damage seen."""

from dataclasses import replace

import msgpack
import numpy as np
import pytest
import torch
from potts_inputs import random_model
from safetensors import safe_open
from safetensors.torch import save_file

from npm_core import contacts, potts, potts_files
from npm_core.alphabet import GAP, STATES, encode
from npm_core.errors import DataError
from npm_core.potts import Potts

GAP_GAUGE = {"ccmpred-raw", "ccmpred-msgpack"}


@pytest.fixture
def model(rng):
    return random_model(rng, 4)


@pytest.mark.parametrize("name", potts_files.MODELS)
def test_models_survive_a_round_trip(tmp_path, rng, model, name):
    potts_files.write_model(tmp_path / "model", model, name)
    found = potts_files.read_model(tmp_path / "model", name)
    assert np.array_equal(found.couplings, model.couplings)
    if name in GAP_GAUGE:
        residues = rng.integers(0, STATES, (10, 4)).astype(np.uint8)
        difference = potts.energy(found, residues) - potts.energy(model, residues)
        assert np.allclose(difference, difference[0], atol=1e-5)
        assert not found.fields[:, GAP].any()
    else:
        assert np.array_equal(found.fields, model.fields)


@pytest.mark.parametrize("name", potts_files.MODELS)
def test_a_model_of_one_position_survives_a_round_trip(tmp_path, name):
    fields = np.arange(STATES, dtype=np.float32)[None] - GAP
    alone = Potts(fields, np.zeros((1, 1, STATES, STATES), np.float32))
    potts_files.write_model(tmp_path / "model", alone, name)
    assert np.array_equal(potts_files.read_model(tmp_path / "model", name).fields, fields)


@pytest.mark.parametrize("name", potts_files.MODELS)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.97])
def test_a_truncated_model_is_refused(tmp_path, model, name, share):
    path = tmp_path / "model"
    potts_files.write_model(path, model, name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="model"):
        potts_files.read_model(path, name)


@pytest.mark.parametrize("name", potts_files.MODELS)
def test_a_model_with_nan_is_refused(tmp_path, model, name):
    model.couplings[0, 1, 2, 3] = model.couplings[1, 0, 3, 2] = np.nan
    potts_files.MODELS[name][1](tmp_path / "model", model)
    with pytest.raises(DataError, match="NaN"):
        potts_files.read_model(tmp_path / "model", name)


def test_a_model_whose_query_is_no_protein_is_refused(tmp_path, model):
    potts_files.write_model(tmp_path / "a.npz", replace(model, metadata={"query": "ACé1"}))
    with pytest.raises(DataError, match=r"a\.npz: the query: character 'é' at position 3"):
        potts_files.read_model(tmp_path / "a.npz")


def test_plmc_files_use_its_own_alphabet(tmp_path, model):
    potts_files.write_model(tmp_path / "a.params", model)
    data = (tmp_path / "a.params").read_bytes()
    assert data[40:61] == b"-ACDEFGHIKLMNPQRSTVWY"
    first_fields = np.frombuffer(data, "<f4", 42, offset=61 + 4 + 16 + 4 * 84)[:3]
    assert np.array_equal(first_fields, model.fields[0, [GAP, 0, 4]])
    assert potts_files.read_model(tmp_path / "a.params").metadata["query"] == "ACDE"


def test_a_plmc_file_without_the_gap_reads_as_zero_for_it(tmp_path):
    letters = b"ACDEFGHIKLMNPQRSTVWY"
    # One sequence that counts, one that plmc left out; both have a weight in the file.
    header = np.array([2, 20, 1, 1, 5], "<i4").tobytes() + np.zeros(5, "<f4").tobytes()
    front = letters + np.ones(2, "<f4").tobytes() + b"AC" + np.array([1, 2], "<i4").tobytes()
    fields = np.arange(40, dtype="<f4")
    couplings = np.zeros((20, 20), "<f4")
    couplings[0, 19] = 7
    body = [np.zeros(40, "<f4"), fields, np.zeros(400, "<f4"), couplings]
    (tmp_path / "a.plmc").write_bytes(header + front + b"".join(part.tobytes() for part in body))
    found = potts_files.read_model(tmp_path / "a.plmc")
    assert found.couplings[0, 1, encode("A")[0], encode("Y")[0]] == 7
    assert found.fields[1, encode("C")[0]] == 21
    assert not found.fields[:, GAP].any()


def test_a_raw_file_as_ccmpred_prints_it(tmp_path):
    lines = ["\t".join(["1"] * 20) + "\t", "\t".join(["2"] * 20) + "\t", "# 0 1"]
    block = np.zeros((21, 21))
    block[2, 5] = 0.25
    lines += ["".join(f"{value:.20e}\t" for value in row) for row in block]
    (tmp_path / "a.raw").write_text("\n".join([*lines, '#>META> {"a": 1}']) + "\n")
    found = potts_files.read_model(tmp_path / "a.raw")
    assert found.couplings[0, 1, 2, 5] == found.couplings[1, 0, 5, 2] == 0.25
    assert found.fields[1].tolist() == [2.0] * 20 + [0.0]


def test_a_msgpack_file_as_ccmpred_packs_it(tmp_path):
    block = np.zeros((21, 21))
    block[2, 5] = 0.25
    pair = {"i": 0, "j": 1, "x": block.ravel().tolist()}
    content = {"format": "ccm-1", "ncol": 2, "x_single": [1] * 40, "x_pair": {"0/1": pair}}
    (tmp_path / "a.msgpack").write_bytes(msgpack.packb(content))
    assert potts_files.read_model(tmp_path / "a.msgpack").couplings[0, 1, 2, 5] == 0.25


def test_a_gremlin_file_as_it_prints_it(tmp_path):
    block = np.zeros((21, 21))
    block[2, 5] = 0.25
    fields = " ".join(["1"] * 21)
    pair = " ".join(map(str, block.ravel()))
    (tmp_path / "a.mrf").write_text(f"V[0] {fields}\nV[1] {fields}\nW[0][1] {pair}\n")
    assert potts_files.read_model(tmp_path / "a.mrf").couplings[0, 1, 2, 5] == 0.25


def test_scores_of_a_model_are_the_papers_but_for_ccmpreds_own_file(tmp_path, model):
    found = potts_files.write_model_scores(tmp_path / "a.npz", model).scores
    assert np.allclose(found, contacts.contact_scores(model.couplings, centre="none"), atol=1e-6)
    found = potts_files.write_model_scores(tmp_path / "a.mat", model).scores
    assert np.allclose(found, contacts.ccmpred_matrix(model.couplings), atol=1e-6)


def test_raw_pairs_out_of_order_are_refused(tmp_path, model):
    potts_files.write_model(tmp_path / "a.raw", model)
    text = (tmp_path / "a.raw").read_text().replace("# 0 2", "# 0 3")
    (tmp_path / "a.raw").write_text(text)
    with pytest.raises(DataError, match="pair headers"):
        potts_files.read_model(tmp_path / "a.raw")


def test_residues_of_gremlin_files_that_left_columns_out_keep_their_numbers(tmp_path, model):
    potts_files.write_model(tmp_path / "a.mrf", model)
    text = (tmp_path / "a.mrf").read_text().replace("[3]", "[4]")
    (tmp_path / "a.mrf").write_text(text)
    found = potts_files.read_model(tmp_path / "a.mrf")
    assert np.array_equal(found.couplings, model.couplings)
    assert potts_files.numbers_of(found).tolist() == [1, 2, 3, 5]
    potts_files.write_model(tmp_path / "b.mrf", found)
    assert (tmp_path / "b.mrf").read_text() == text


@pytest.mark.parametrize("name", ["safetensors", "npz-model", "plmc", "gremlin"])
def test_residue_numbers_survive_a_round_trip(tmp_path, model, name):
    numbered = Potts(model.fields, model.couplings, {"query": "ACDE", "numbers": "24-25 29-30"})
    potts_files.write_model(tmp_path / "model", numbered, name)
    found = potts_files.read_model(tmp_path / "model", name)
    assert potts_files.numbers_of(found).tolist() == [24, 25, 29, 30]


SHAPES = {"fields": (2, 21), "couplings": (2, 2, 21, 21)}


@pytest.mark.parametrize("name", ["fields", "couplings"])
@pytest.mark.parametrize("wrong", [np.float32(1), np.zeros(3, "U3"), np.zeros((2, 21), complex)])
def test_arrays_that_are_no_model_are_refused(tmp_path, name, wrong):
    arrays = {key: np.zeros(shape, np.float32) for key, shape in SHAPES.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    assert potts_files.read_model(tmp_path / "a.npz").length == 2
    np.savez(tmp_path / "a.npz", **{**arrays, name: wrong})
    with pytest.raises(DataError, match=r"a.npz: (fields|couplings) are"):
        potts_files.read_model(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (torch.zeros(2, 21, dtype=torch.bfloat16), "BF16"),
        (torch.zeros(2, 21, dtype=torch.int8), "I8"),
        (torch.tensor(1.0), r"couplings for \(\) fields"),
    ],
)
def test_tensors_that_are_no_model_are_refused(tmp_path, model, fields, message):
    path = tmp_path / "a.safetensors"
    potts_files.write_model(path, model)
    with safe_open(path, framework="pt") as file:
        metadata, couplings = file.metadata(), file.get_tensor("couplings")
    save_file({"fields": fields, "couplings": couplings}, path, metadata=metadata)
    with pytest.raises(DataError, match=message):
        potts_files.read_model(path)


@pytest.mark.parametrize("length", [-3, 0, "2", 2.0, None])
def test_a_msgpack_of_no_positions_is_refused(tmp_path, length):
    content = {"format": "ccm-1", "ncol": length, "x_single": [], "x_pair": {}}
    (tmp_path / "a.msgpack").write_bytes(msgpack.packb(content))
    with pytest.raises(DataError, match="ncol is"):
        potts_files.read_model(tmp_path / "a.msgpack")


def test_a_file_names_the_query(tmp_path, model):
    potts_files.write_model(tmp_path / "a.safetensors", model)
    assert potts_files.read_model(tmp_path / "a.safetensors").metadata["query"] == "ACDE"


def test_a_file_holds_floats_of_32_bits_whatever_the_model(tmp_path, model):
    double = Potts(model.fields.astype(np.float64), model.couplings.astype(np.float64))
    potts_files.write_model(tmp_path / "a.safetensors", double)
    loaded = potts_files.read_model(tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as file:
        kinds = [file.get_slice(name).get_dtype() for name in ("fields", "couplings")]
    assert kinds == ["F32", "F32"]
    assert np.array_equal(loaded.couplings, model.couplings)


@pytest.mark.parametrize("damage", ["nan", "asymmetric", "diagonal"])
def test_a_damaged_model_is_not_written(tmp_path, model, damage):
    if damage == "nan":
        model.fields[0, 0] = np.nan
    elif damage == "asymmetric":
        model.couplings[0, 1, 0, 0] += 1
    else:
        model.couplings[2, 2, 0, 0] = 1
    with pytest.raises(DataError):
        potts_files.write_model(tmp_path / "a.safetensors", model)
    assert not any(tmp_path.iterdir())


def test_a_file_of_another_alphabet_is_refused(tmp_path, model):
    path = tmp_path / "a.safetensors"
    potts_files.write_model(path, model)
    path.write_bytes(path.read_bytes().replace(b"ARNDCQEGHILKMFPSTWYV-", b"-ACDEFGHIKLMNPQRSTVWY"))
    with pytest.raises(DataError, match="alphabet '-ACDEFGHIKLMNPQRSTVWY'"):
        potts_files.read_model(path)


def test_a_file_of_another_format_or_other_tensors_is_refused(tmp_path, model):
    path = tmp_path / "a.safetensors"
    potts_files.write_model(path, model)
    path.write_bytes(path.read_bytes().replace(b"npm-potts-1", b"npm-potts-9"))
    with pytest.raises(DataError, match="of format 'npm-potts-9', expected fields"):
        potts_files.read_model(path)
    save_file({"fields": torch.from_numpy(model.fields)}, path, metadata={"format": "npm-potts-1"})
    with pytest.raises(DataError, match=r"tensors \['fields'\] of format 'npm-potts-1'"):
        potts_files.read_model(path)


def test_a_file_of_a_model_that_diverged_is_refused(tmp_path, model):
    model.couplings[1, 2, 3, 4] = model.couplings[2, 1, 4, 3] = np.inf
    potts_files.MODELS["safetensors"][1](tmp_path / "a.safetensors", model)
    with pytest.raises(DataError, match=r"a\.safetensors: the couplings of position 2 hold NaN"):
        potts_files.read_model(tmp_path / "a.safetensors")


def test_a_truncated_file_is_refused(tmp_path, model):
    potts_files.write_model(tmp_path / "a.safetensors", model)
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a whole safetensors file"):
        potts_files.read_model(tmp_path / "a.safetensors")
