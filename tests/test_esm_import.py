"""A published ESM checkpoint becomes a trunk, or is refused without running what it holds."""

import argparse
import hashlib

import pytest
import torch
from model_inputs import _Harmful

from npm_core.architecture import TrunkSettings
from npm_core.checkpoints import model_to_train
from npm_core.cli import main
from npm_core.errors import DataError


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
    npm = model_to_train(str(out), lambda settings: settings)
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


def test_a_pickle_that_calls_code_is_refused(tmp_path):
    from npm_core.esm_import import read_published

    path = tmp_path / "esm1.pt"
    torch.save({"model": {}, "args": _Harmful()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match="not a checkpoint of tensors") as caught:
        read_published(path, sha256=digest)
    # Nor is torch's advice passed on, to load such files all the same.
    assert "weights_only" not in str(caught.value)
