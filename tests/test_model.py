"""The heads obey appendix B; the trunk reads a sequence and nothing else."""

import pytest
import torch
from model_inputs import TINY
from torch import Tensor

from npm_core.architecture import PAPER, HeadSettings, TrunkSettings
from npm_core.cli import main
from npm_core.errors import DataError, SettingsError
from npm_core.model import (
    HEADS,
    K,
    MaskedLanguageModel,
    NeuralPottsModel,
    UntiedHead,
    count_parameters,
    pad_tokens,
    rotary_angles,
    rotate,
)
from npm_core.trunks import build_trunk


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


def test_random_weights_give_fields_of_a_tenth():
    trunk = build_trunk(TrunkSettings("rotary", layers=1, width=64, attention_heads=2))
    model = NeuralPottsModel(trunk, HeadSettings("tied", rank=2))
    fields, _ = model.heads(torch.randn(200, 64))
    assert fields.shape == (200, K)
    assert float(fields.detach().std()) == pytest.approx(0.1, rel=0.1)


def test_what_a_layer_adds_to_its_input_begins_small():
    trunk = build_trunk(TrunkSettings("rotary", layers=2, width=64, attention_heads=2))
    for layer in trunk.layers:
        for writer in (layer.attention_out, layer.feed_forward_out):
            # 0.02 / sqrt(2 x 2 layers)
            assert float(writer.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
            assert not writer.bias.any()


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


def test_rotation_turns_each_pair_by_its_position_times_its_frequency():
    # Of width 4 the pairs (0, 2) and (1, 3) turn by 1 and by 1 / 100 a position.
    x = torch.eye(4, dtype=torch.float64)[:, None].expand(4, 6, 4)
    turned = rotate(x, rotary_angles(6, 4, like=x))
    for position in range(6):
        angles = torch.tensor([1.0, 0.01], dtype=torch.float64) * position
        (c, f), (s, g) = angles.cos().tolist(), angles.sin().tolist()
        expected = torch.tensor([[c, 0, s, 0], [0, f, 0, g], [-s, 0, c, 0], [0, -g, 0, f]])
        torch.testing.assert_close(turned[:, position], expected.double(), rtol=0, atol=1e-7)


def test_a_rotary_layer_is_attention_of_each_head_and_a_feed_forward_written_out():
    layer = build_trunk(TINY).double().layers[0]
    for writer in (layer.attention_out, layer.feed_forward_out):
        torch.nn.init.normal_(writer.weight)
    x = torch.randn(5, 8, dtype=torch.float64)
    rotation = rotary_angles(5, 4, like=x)
    query, key, value = layer.query_key_value(layer.attention_norm(x)).chunk(3, dim=1)
    heads = []
    for one in (slice(0, 4), slice(4, 8)):
        scores = rotate(query[:, one], rotation) @ rotate(key[:, one], rotation).T
        heads.append(torch.softmax(scores / 4**0.5, dim=1) @ value[:, one])
    attended = x + layer.attention_out(torch.cat(heads, dim=1))
    hidden = layer.feed_forward_in(layer.feed_forward_norm(attended))
    hidden = hidden * torch.special.ndtr(hidden)
    expected = attended + layer.feed_forward_out(hidden)
    torch.testing.assert_close(layer(x[None], rotation, None)[0], expected)


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


def test_the_papers_models_are_those_of_table_2():
    trunk, conv, _ = PAPER["pfam_clan"]
    assert (trunk.layers, trunk.width, conv.rank, conv.channels) == (12, 768, 128, 128)


def test_width_that_heads_cannot_share_is_refused():
    with pytest.raises(SettingsError, match="whole even number"):
        TrunkSettings(width=10, attention_heads=4)


def test_an_empty_sequence_is_refused():
    with pytest.raises(DataError, match="without residues"):
        pad_tokens([torch.tensor([], dtype=torch.int64)])


def test_a_language_model_tells_of_the_20_amino_acids_at_each_position():
    tokens, lengths = pad_tokens([torch.tensor([3, 1, 20]), torch.tensor([5])])
    assert MaskedLanguageModel(build_trunk(TINY))(tokens, lengths).shape == (2, 3, 20)


def test_parameters_of_the_heads_are_as_counted_by_hand():
    model = NeuralPottsModel(build_trunk(TINY), HeadSettings("tied", rank=2))
    assert count_parameters(model.couplings) == K * 8 * 2
    assert count_parameters(model.fields) == 8 * K
