"""The heads obey appendix B; the trunk reads a sequence and nothing else."""

import argparse
import hashlib

import pytest
import torch
from torch import Tensor

from npm_core.architecture import PAPER, HeadSettings, TrunkSettings
from npm_core.checkpoints import load_model, save_model, start_from
from npm_core.cli import main
from npm_core.errors import DataError, SettingsError
from npm_core.model import (
    HEADS,
    K,
    MaskedLanguageModel,
    NeuralPottsModel,
    UntiedHead,
    build_trunk,
    count_parameters,
    pad_tokens,
    rotary_angles,
)

TINY = TrunkSettings("rotary", layers=2, width=8, attention_heads=2, feed_forward=2)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(7)


def head(kind: str, width: int = 6) -> torch.nn.Module:
    settings = HeadSettings(kind, rank=3, channels=4, initial_coupling=0.5)
    return HEADS[kind](width, settings).double()


def embeddings(length: int = 5, width: int = 6) -> Tensor:
    return torch.randn(length, width, dtype=torch.float64)


@pytest.mark.parametrize("kind", HEADS)
def test_couplings_are_symmetric_and_no_position_couples_to_itself(kind):
    blocks = head(kind)(embeddings()).blocks_of(1)[0]
    assert blocks.shape == (K, K, 5, 5)
    assert blocks.abs().max() > 0
    torch.testing.assert_close(blocks, blocks.permute(1, 0, 3, 2))
    assert not blocks.diagonal(dim1=2, dim2=3).any()


def test_untied_couplings_are_the_bilinear_form_of_appendix_b():
    made, e = head("untied"), embeddings()
    U = made.U.view(K, 6, K, 3)
    i, j, k, l = 1, 4, 2, 20  # noqa: E741
    expected = (e[i] @ U[k, :, l]) @ (e[j] @ U[l, :, k])
    torch.testing.assert_close(made(e).blocks_of(1)[0][k, l, i, j], expected)


def test_asymmetric_couplings_are_the_symmetric_part_of_the_bilinear_form():
    made, e = head("asymmetric"), embeddings()
    U, V = made.U.view(K, 6, K, 3), made.V.view(K, 6, K, 3)
    i, j, k, l = 1, 4, 2, 20  # noqa: E741
    one = (e[i] @ U[k, :, l]) @ (e[j] @ V[k, :, l])
    other = (e[j] @ U[l, :, k]) @ (e[i] @ V[l, :, k])
    torch.testing.assert_close(made(e).blocks_of(1)[0][k, l, i, j], (one + other) / 2)


def test_tied_equals_untied_with_copied_weights():
    tied, e = head("tied"), embeddings()
    untied = UntiedHead(6, HeadSettings(rank=3)).double()
    with torch.no_grad():
        untied.U.copy_(tied.U[:, :, None].expand(K, 6, K, 3).reshape(K, 6, K * 3))
    torch.testing.assert_close(untied(e).blocks_of(1)[0], tied(e).blocks_of(1)[0])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("untied", 0.3), ("tied", 0.3), ("asymmetric", 0.3 / 2**0.5), ("conv", 0.3 / 2**0.5)],
)
def test_random_weights_give_couplings_of_the_asked_for_size(kind, expected):
    made = HEADS[kind](64, HeadSettings(kind, rank=16, initial_coupling=0.3))
    blocks = made(torch.randn(40, 64)).blocks_of(1)[0].detach()
    off = blocks[:, :, ~torch.eye(40, dtype=torch.bool)]
    assert float(off.std()) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("kind", ["rotary", "esm1", "esm2"])
def test_padding_and_order_of_a_batch_change_nothing(kind):
    settings = TrunkSettings(kind, layers=2, width=8, attention_heads=2, feed_forward=4)
    trunk = build_trunk(settings).double().eval()
    short, long = torch.tensor([3, 1, 20]), torch.tensor([0, 5, 19, 7, 2, 2, 11])
    together = trunk(*pad_tokens([short, long]))
    turned = trunk(*pad_tokens([long, short]))
    alone = [trunk(*pad_tokens([sequence]))[0] for sequence in (short, long)]
    torch.testing.assert_close(together[0, :3], alone[0])
    torch.testing.assert_close(together[1], alone[1])
    torch.testing.assert_close(turned[[1, 0], :3], together[:, :3])


def test_rotary_trunk_knows_distances_but_no_absolute_position():
    trunk = build_trunk(TINY).double()
    layer, x = trunk.layers[0], torch.randn(1, 6, 8, dtype=torch.float64)
    cosine, sine = rotary_angles(9, 4, like=x)
    here = layer(x, (cosine[:6], sine[:6]), None)
    shifted = layer(x, (cosine[3:], sine[3:]), None)
    torch.testing.assert_close(here, shifted)
    turned = layer(x.flip(1), (cosine[:6], sine[:6]), None).flip(1)
    assert not torch.allclose(here, turned)


def test_esm_trunks_give_the_last_hidden_state_of_fair_esm():
    from npm_core import alphabet
    from npm_core.esm_trunk import HEADS as ESM_HEADS
    from npm_core.esm_trunk import EsmTrunk, _build

    for kind in ("esm1", "esm2"):
        settings = TrunkSettings(kind, layers=2, width=16, attention_heads=4)
        published = _build(settings).eval()
        trunk = EsmTrunk(settings).eval()
        weights = published.state_dict()
        trunk.load_state_dict(
            {f"esm.{name}": w for name, w in weights.items() if not name.startswith(ESM_HEADS)}
        )
        pairs = [("a", "MKVLA"), ("b", "ACDEFGHIKLMNPQRSTVWY")]
        _, _, words = trunk.esm_alphabet.get_batch_converter()(pairs)
        theirs = published(words, repr_layers=[2])["representations"][2]
        states = [torch.from_numpy(alphabet.encode(s).astype("int64")) for _, s in pairs]
        ours = trunk(*pad_tokens(states))
        torch.testing.assert_close(ours[0, :5], theirs[0, 1:6])
        torch.testing.assert_close(ours[1], theirs[1, 1:21])


@pytest.fixture(params=["esm1", "esm2"])
def published(request, tmp_path):
    """A small checkpoint in the layout of esm1_t12_85M_UR50S.pt or esm2_t6_8M_UR50D.pt."""
    from npm_core.esm_trunk import _build

    model = _build(TrunkSettings(request.param, layers=1, width=16, attention_heads=2))
    coder = {"esm1": "decoder", "esm2": "encoder"}[request.param]
    sizes = {"layers": 1, "embed_dim": 16, "ffn_embed_dim": 64, "attention_heads": 2}
    settings = argparse.Namespace(
        arch="protein_bert_base", **{f"{coder}_{name}": size for name, size in sizes.items()}
    )

    def name_of(weight: str) -> str:
        # As fairseq names them: only ESM-2's Transformer stands in a sentence encoder
        inner = coder == "encoder" and not weight.startswith("lm_head")
        return f"{coder}.sentence_encoder.{weight}" if inner else f"{coder}.{weight}"

    path = tmp_path / "published.pt"
    weights = {name_of(name): weight for name, weight in model.state_dict().items()}
    about = {"args": settings} if coder == "decoder" else {"cfg": {"model": settings}}
    torch.save({**about, "model": weights}, path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest(), model


def test_a_published_esm_checkpoint_becomes_a_trunk_to_start_from(published, tmp_path):
    path, digest, model = published
    out = tmp_path / "trunk"
    flags = ["--checkpoint", str(path), "--sha256", digest, "--output", str(out)]
    assert main(["import-esm", *flags]) == 0
    npm = start_from(str(out), lambda settings: settings)
    torch.testing.assert_close(npm.trunk.esm.embed_tokens.weight, model.embed_tokens.weight)


def test_an_esm_checkpoint_with_another_digest_is_not_opened(published, tmp_path, capsys):
    flags = ["--checkpoint", str(published[0]), "--sha256", "0" * 64, "--output", str(tmp_path)]
    assert main(["import-esm", *flags]) == 2
    assert "sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop(sorted(weights)[-1]), "1 weights are missing"),
        (lambda weights: weights.update({"other": torch.zeros(1)}), "1 are unknown"),
    ],
)
def test_an_esm_checkpoint_with_other_weights_is_refused(published, change, message):
    from npm_core.esm_import import read_published

    path = published[0]
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, weights_only=True)
    change(content["model"])
    torch.save(content, path)
    with pytest.raises(DataError, match=message):
        read_published(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


class _Harmful:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was executed')",))


def test_a_pickle_that_calls_code_is_refused(tmp_path):
    from npm_core.esm_import import read_published

    path = tmp_path / "esm1.pt"
    torch.save({"model": {}, "args": _Harmful()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match="not a checkpoint of tensors") as caught:
        read_published(path, sha256=digest)
    # Nor is torch's advice passed on, to load such files all the same.
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "rank", "millions", "trained"),
    [
        ("pfam_clan", None, 110.4, 25.3),
        ("uniref50", None, 518.7, 518.7),
        ("uniref50", 512, 634.3, 634.3),
    ],
)
def test_describe_prints_the_parameter_counts_of_table_2(name, rank, millions, trained, capsys):
    assert main(["describe", name, *(["--rank", str(rank)] if rank else [])]) == 0
    lines = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()[-2:])
    counts = {key.strip(): int(value.replace(",", "")) / 1e6 for key, value in lines.items()}
    assert counts == pytest.approx({"all": millions, "trained": trained}, abs=0.05)


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
    import json

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


def test_the_papers_models_are_those_of_table_2():
    trunk, conv, _ = PAPER["pfam_clan"]
    assert (trunk.layers, trunk.width, conv.rank, conv.channels) == (12, 768, 128, 128)


@pytest.fixture
def saved(tmp_path):
    model = NeuralPottsModel(build_trunk(TINY), HeadSettings(rank=2))
    save_model(tmp_path / "npm", model, {"note": "test"})
    return tmp_path / "npm", model


def test_a_saved_model_comes_back_whole(saved):
    folder, model = saved
    found = load_model(folder)
    assert isinstance(found, NeuralPottsModel)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, found.state_dict()[name])


def change_weights(folder, change):
    """Rewrite the weights, and the digest with them."""
    import json

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
    import json

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
    npm = start_from(str(tmp_path / "mlm"), lambda settings: settings)
    torch.testing.assert_close(npm.trunk.embed.weight, model.trunk.embed.weight)
    with pytest.raises(SettingsError, match="asked for"):
        start_from(str(tmp_path / "mlm"), lambda settings: type(settings)())


def test_width_that_heads_cannot_share_is_refused():
    with pytest.raises(SettingsError, match="whole even number"):
        TrunkSettings(width=10, attention_heads=4)


def test_an_empty_sequence_is_refused():
    with pytest.raises(DataError, match="without residues"):
        pad_tokens([torch.tensor([], dtype=torch.int64)])


def test_parameters_of_the_heads_are_as_counted_by_hand():
    model = NeuralPottsModel(build_trunk(TINY), HeadSettings("tied", rank=2))
    assert count_parameters(model.couplings) == K * 8 * 2
    assert count_parameters(model.fields) == 8 * K
