"""A trained flow on waves: levels, padding, files, the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from flowatlas import Euler, Midpoint, load_system
from flowatlas.cli import main
from flowatlas.errors import ConfigError, DataError, ShapeError
from flowatlas.objectives import FlowMatching
from flowatlas_audio import (
    ComplexSpectrogram,
    Enhancer,
    FrameNetwork,
    enhancement_path,
    read_wave,
    write_wave,
)
from flowatlas_audio.cli import enhance
from flowatlas_audio.corpus import corpus
from flowatlas_audio.mixtures import Mixtures, synthetic_voice

RATE = 8000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made_up(sigma: float = 0.5, std: float = 0.05) -> Enhancer:
    torch.manual_seed(0)
    network = FrameNetwork(129, width=16, depth=3)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=std)
    front = ComplexSpectrogram(scale=0.4)
    return Enhancer(
        network=network.eval(), front=front, rate=RATE, sigma=sigma, steps=5, speech="generated"
    )


def waves(noise: float = 0.1) -> torch.Tensor:
    """With noise as recordings have it: the phase of a silent bin is that of a rounding error."""
    clean = torch.stack([synthetic_voice(1.0, RATE, seeded(i)) for i in range(2)])
    return clean + noise * torch.randn(clean.shape, generator=seeded(5))


def test_path_is_that_of_a_noisy_source() -> None:
    clean, noisy, z = torch.randn(3, 4, 6, 10, generator=seeded())
    t = torch.tensor([0.0, 0.3, 0.7, 1.0])
    found = enhancement_path(0.5).sample(0.5 * z, clean - noisy, t).x_t
    s = t.view(-1, 1, 1)
    assert isinstance(found, torch.Tensor)
    assert torch.allclose(noisy + found, s * clean + (1 - s) * (noisy + 0.5 * z), atol=1e-6)


def test_source_has_its_deviation() -> None:
    """Of 10^5 draws, within 5 relative deviations of 1 / sqrt(2 * 10^5)."""
    drawn = enhancement_path(0.3).source.sample((1000, 100), generator=seeded())
    assert float(drawn.std()) == pytest.approx(0.3, rel=0.011)


def test_each_mixture_has_a_source_of_its_own() -> None:
    """Which matters with several steps: the first evaluation does not see the source."""
    made, x = made_up(sigma=0.5), waves()[:1].repeat(3, 1)
    test = Mixtures(x, x, torch.zeros(3), ("a",) * 3)
    found = made.enhanced(test, seed=7).waves
    assert not torch.isclose(found[0], found[1], atol=1e-3).all()
    again = made(x, generator=[seeded(7 + i) for i in range(3)])
    assert torch.equal(found, again)


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_network_that_knows_the_answer_gives_it(sigma: float) -> None:
    class Knows(FrameNetwork):
        def forward(self, x, t, condition=None, *, mask=None):  # type: ignore[no-untyped-def]
            return answer

    front, x = ComplexSpectrogram(), waves()
    noisy = x + 0.3 * torch.randn(x.shape, generator=seeded())
    loud = noisy.square().mean(1, keepdim=True).sqrt()
    answer = front.encode(x / loud) - front.encode(noisy / loud)
    network = Knows(129, width=4, depth=1)
    found = Enhancer(network=network, front=front, rate=RATE, sigma=sigma, steps=3)(noisy)
    assert (found - x).abs().max() < 1e-3


def test_level_of_the_input_is_that_of_the_output() -> None:
    enhancer, x = made_up(), waves()
    one, ten = (enhancer(k * x, generator=seeded()) for k in (1.0, 10.0))
    assert torch.allclose(ten, 10 * one, atol=1e-3)
    assert (one - x).abs().max() > 0.01
    assert torch.isfinite(enhancer(torch.zeros(1, 500), generator=seeded())).all()


def test_padding_never_changes_the_rest() -> None:
    enhancer, x = made_up(sigma=0.0), waves()
    length = 5000
    alone = enhancer(x[1:, :length])
    lengths = torch.tensor([8000, length])
    found = enhancer(x, lengths=lengths)
    assert (found[1, :length] - alone[0]).abs().max() < 1e-4
    assert (found[1, length:] == 0).all()
    flow = made_up()
    seeds = [[seeded(0), seeded(1)] for _ in range(2)]
    other = x.clone()
    other[1, length:] = 100.0
    first, second = (
        flow(w, lengths=lengths, generator=g) for w, g in zip((x, other), seeds, strict=True)
    )
    assert torch.equal(first, second)


def test_a_wave_does_not_depend_on_its_batch() -> None:
    enhancer, x = made_up(), waves()
    both = enhancer(x, generator=[seeded(3), seeded(4)])
    assert torch.allclose(enhancer(x[1:], generator=[seeded(4)])[0], both[1], atol=1e-5)


def test_overfitting_one_mixture_finds_the_clean_wave() -> None:
    x = waves(0.0)[:1]
    noisy = x + 0.5 * torch.randn(x.shape, generator=seeded())
    loud = noisy.square().mean().sqrt()
    front = ComplexSpectrogram(power=1.0).fitted([noisy / loud])
    y = front.encode(noisy / loud)
    target = front.encode(x / loud) - y
    torch.manual_seed(0)
    network = FrameNetwork(129, width=64, depth=3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    objective = FlowMatching(enhancement_path(0.1))
    for step in range(120):
        loss = objective(
            network,
            target.repeat(2, 1, 1),
            condition={"noisy": y.repeat(2, 1, 1)},
            generator=seeded(step),
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = Enhancer(network=network.eval(), front=front, rate=RATE, sigma=0.1)(
        noisy, generator=seeded()
    )
    before, after = (float((a - x).square().mean()) for a in (noisy, found))
    assert after < 0.4 * before


def test_it_comes_back_and_draws_the_same(tmp_path: Path) -> None:
    made = replace(made_up(), steps=3, sigma=0.3)
    again = load_system(made.save(tmp_path / "model"))
    assert isinstance(again, Enhancer)
    settings = ("front", "rate", "sigma", "steps", "speech")
    assert all(getattr(again, name) == getattr(made, name) for name in settings)
    drawn = made.draw(2, seed=3)
    assert torch.equal(again.draw(2, seed=3).waves, drawn.waves)
    expected = corpus("generated", RATE, 3).test(2, 3 * RATE, 3)
    assert torch.equal(drawn.mixtures.noisy, expected.noisy)
    # What is stored matters, and so do the seed and the solver.
    for other in (
        made.draw(2, seed=4),
        made.draw(2, seed=3, solver=Midpoint(steps=2)),
        replace(made, steps=2).draw(2, seed=3),
        replace(made, sigma=0.1).draw(2, seed=3),
        replace(made, front=ComplexSpectrogram(scale=0.5)).draw(2, seed=3),
    ):
        assert (other.waves - drawn.waves).abs().max() > 1e-3


def test_mixtures_are_written_at_one_level(tmp_path: Path) -> None:
    made = made_up()
    files = made.write(tmp_path / "waves", count=2, seed=1, steps=2)
    assert [file.name for file in files] == [
        f"{i:03d}_{name}.wav" for i in range(2) for name in ("noisy", "enhanced", "clean")
    ]
    drawn = made.draw(2, seed=1, solver=Euler(steps=2))
    waves = torch.stack([read_wave(file, rate=RATE).samples for file in files]).view(2, 3, -1)
    expected = torch.stack([drawn.mixtures.noisy, drawn.waves, drawn.mixtures.clean], 1)
    assert waves.shape == (2, 3, 3 * RATE)
    peak = expected.abs().amax((1, 2), keepdim=True)
    assert (waves - expected / peak).abs().max() < 2 / 32768
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be made"):
        made.export(drawn, tmp_path / "file")
    assert made.figure(drawn, "title").axes


def test_what_is_damaged_or_missing_is_named(tmp_path: Path) -> None:
    place = made_up().save(tmp_path / "model")
    stored = json.loads((place / "system.json").read_text())
    for part in ("front", "speech"):
        contents = {k: v for k, v in stored["contents"].items() if k != part}
        (place / "system.json").write_text(json.dumps({**stored, "contents": contents}))
        with pytest.raises(DataError, match=f"corrupt.*{part}"):
            Enhancer.load(place)
    (place / "system.json").write_text(json.dumps(stored))
    (place / "network" / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors"):
        Enhancer.load(place)
    with pytest.raises(DataError, match="no such directory"):
        Enhancer.load(tmp_path / "nothing")


def test_command_reads_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up().save(tmp_path / "model")
    source = write_wave(tmp_path / "in.wav", 0.1 * waves()[0], RATE)
    words = [str(source), str(tmp_path / "out.wav"), "--model", str(tmp_path / "model")]
    assert enhance.run(enhance.parser().parse_args(words)) == 0
    assert "1.0 s at 8000 Hz" in capsys.readouterr().out
    out = read_wave(tmp_path / "out.wav", rate=RATE)
    assert out.samples.shape == (8000,)
    other = write_wave(tmp_path / "in16.wav", 0.1 * waves()[0], 16000)
    with pytest.raises(DataError, match="--resample"):
        enhance.run(enhance.parser().parse_args([str(other), *words[1:]]))
    assert enhance.run(enhance.parser().parse_args([str(other), *words[1:], "--resample"])) == 0
    assert read_wave(tmp_path / "out.wav").samples.shape == (4000,)


def test_bad_input_is_named() -> None:
    enhancer, x = made_up(), waves()
    with pytest.raises(ShapeError, match="wave"):
        enhancer(x[0])
    with pytest.raises(ShapeError, match="lengths"):
        enhancer(x, lengths=torch.tensor([8000, 8001]))
    with pytest.raises(ShapeError, match="lengths"):
        enhancer(x, lengths=torch.tensor([8000]))
    with pytest.raises(ConfigError, match="steps"):
        replace(enhancer, steps=0)
    with pytest.raises(ConfigError, match="speech: got 'sung'"):
        replace(enhancer, speech="sung")


def test_trained_resumed_and_sampled_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, waves = tmp_path / "made", tmp_path / "waves"
    words = ["train", "audio/enhancement", "--preset", "demo", "--quiet", "--output", str(made)]
    tiny = ["steps=4", "width=8", "depth=1", "noises=1", "batch=4", "ema=0"]
    assert main([*words, "--set", *tiny]) == 0
    assert main([*words, "--set", *tiny]) == 2
    assert "holds a trained system" in capsys.readouterr().err
    assert main([*words, "--resume", "--set", *tiny]) == 0
    sampled = ["sample", str(made), "--count", "2", "--steps", "2", "--output", str(waves)]
    assert main([*sampled, "--plot", str(tmp_path / "waves.png")]) == 0
    assert "2 samples by Euler" in capsys.readouterr().out
    assert len(sorted(waves.glob("*_enhanced.wav"))) == 2
    assert (tmp_path / "waves.png").stat().st_size > 10_000
    noisy, out = str(waves / "000_noisy.wav"), str(tmp_path / "out.wav")
    assert main(["audio", "enhance", noisy, out, "--model", str(made)]) == 0
    assert read_wave(out, rate=RATE).samples.shape == (3 * RATE,)


def test_files_that_cannot_be_enhanced_are_named_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile = pytest.importorskip("soundfile")
    model, out = str(made_up().save(tmp_path / "model")), str(tmp_path / "out.wav")
    wave = 0.1 * waves()[0]
    short = write_wave(tmp_path / "short.wav", wave, RATE)
    short.write_bytes(short.read_bytes()[:-1000])
    stereo = tmp_path / "stereo.wav"
    soundfile.write(str(stereo), wave.repeat(2, 1).T.numpy(), RATE)
    fast = write_wave(tmp_path / "fast.wav", wave, 16000)
    text = tmp_path / "text.wav"
    text.write_text("no wave")
    for file, reason in (
        (short, "cut short"),
        (stereo, "2 channels"),
        (fast, "16000 samples per second; 8000 are needed"),
        (text, "cannot be read as audio"),
        (tmp_path / "none.wav", "no such file"),
    ):
        assert main(["audio", "enhance", str(file), out, "--model", model]) == 2
        said = capsys.readouterr().err
        assert str(file.name) in said and reason in said and "Traceback" not in said
        assert not Path(out).exists()
    for file, option in ((stereo, "--downmix"), (fast, "--resample")):
        assert main(["audio", "enhance", str(file), out, "--model", model, option]) == 0
    assert main(["audio", "enhance", str(fast), out, "--model", str(tmp_path)]) == 2
    assert "no trained system" in capsys.readouterr().err
