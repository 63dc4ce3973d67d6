"""`text/*`: characters of English, beside models that count."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from flowatlas.benchmarks.contract import Array, Benchmark, Metric, Outcome, Task
from flowatlas.benchmarks.ngrams import (
    KneserNey,
    jensen_shannon,
    known_words,
    ngram_counts,
    vocabulary,
)
from flowatlas.benchmarks.token_method import TOKEN_METHODS, TokenMethod, TokenPreset
from flowatlas.data.text import (
    ALPHABET,
    Corpus,
    decode_text,
    shared_passages,
    text_windows,
    topics,
)
from flowatlas.data.text import (
    TOPICS as TOPICS_DATA,
)
from flowatlas.objectives import FlowMatching
from flowatlas.paths import Jumps, MixturePath
from flowatlas.sampling import sample, token_bound
from flowatlas.solvers import TauLeaping
from flowatlas.sources import Mask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TOPICS", "TextBenchmark"]

TextTask = Task[TokenMethod, TokenPreset]
VOCAB = len(ALPHABET)
#: Validation rows whose loss is in the log.
_WATCHED = 48
#: Of a Kneser-Ney model; the best on validation text is taken.
_DISCOUNTS = (0.3, 0.5, 0.7, 0.8, 0.9)
_ORDERS = {"unigram": 1, "trigram": 3, "fivegram": 5}
#: Pieces of training text, each as long as the samples, that make the floor of divergences.
_PIECES = 8
_KEPT = 12
_ERROR = "_standard_error"


@dataclass(frozen=True)
class TextBenchmark(Benchmark[TokenMethod, TokenPreset]):
    """Train a flow on rows of text; bound the likelihood of test rows, and read its samples.

    Attributes:
        load: the documents, in three parts. They do not depend on the seed.
        The others are those of `Benchmark`.
    """

    name: str
    summary: str
    data: str
    licence: str
    methods: Mapping[str, TokenMethod]
    presets: Mapping[str, TokenPreset]
    load: Callable[[], Corpus]
    metrics: tuple[Metric, ...] = (
        Metric("bits", "bits per character, at most"),
        Metric("bits_redraw", "the same, by redraws"),
        Metric("js1", "JS of unigrams", "lower", 4),
        Metric("js3", "JS of trigrams"),
        Metric("words", "known words", "higher"),
        Metric("seconds_training", "training, s", "", 0),
    )
    baselines: Mapping[str, str] = (  # type: ignore[assignment]
        ("unigram", "Kneser-Ney, unigram"),
        ("trigram", "Kneser-Ney, trigram"),
        ("fivegram", "Kneser-Ney, 5-gram"),
        ("exact", "real text: as much training text; words of the test text"),
    )
    protocol: str = (
        "The split is by document and fixed; the seed is that of weights, training and samples. "
        "Rows of the test text are scored each by itself, by flows and counting models alike. Bits "
        "of a flow are an upper bound, estimated without bias: of the process that tau-leaping "
        "follows, and of that in which tokens are redrawn. JS is the Jensen-Shannon divergence, in "
        "bits, of the n-grams of samples and test text. Discounts are chosen on validation text."
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "baselines", dict(self.baselines))

    def run(self, task: TextTask) -> Outcome:
        # Lightning takes seconds to import, and lists of benchmarks do not need it.
        from flowatlas.benchmarks.fitting import fit_network, load_fitted, loss_arrays
        from flowatlas.training import TensorData

        preset, method = task.preset, task.method
        corpus = self.load()
        train, validation, test = _rows(corpus, preset)
        path = method.build_path(VOCAB)
        data = TensorData(
            train, validation[:_WATCHED], batch_size=preset.batch, val_batch_size=16, seed=task.seed
        )
        result = fit_network(_network(task), FlowMatching(path), data, task)
        field = load_fitted(result.checkpoint, preset)
        metrics = _likelihood(field, path, test, task)
        baselines, notes = _baselines(corpus, validation, test, task)
        samples, curves = _draw(field, path, test, task)
        words = vocabulary(corpus.train)
        return Outcome(
            metrics={
                **metrics,
                **_resemblance(samples, test, words),
                **baselines,
                "seconds_training": result.seconds,
                "steps": float(result.step),
            },
            nfe=method.solver_steps,
            arrays={
                **curves,
                **loss_arrays(result.log),
                "curve_floor": np.array(baselines["exact/js3"]),
                "points": test[:: max(1, len(test) // _KEPT)][:_KEPT].numpy(),
                "samples": samples[:_KEPT].numpy(),
            },
            notes=notes,
        )

    def figures(self, arrays: Mapping[str, Array], title: str) -> dict[str, Figure]:
        from flowatlas.plots import loss_curve, nfe_curve, text_panel

        made = {
            "test text and samples": text_panel(
                points=decode_text(torch.from_numpy(arrays["points"])),
                samples=decode_text(torch.from_numpy(arrays["samples"])),
                title=title,
            )
        }
        curves = {
            name: (arrays[f"curve_{key}_steps"], arrays[f"curve_{key}"])
            for key, name in (("plain", "tau-leaping"), ("corrected", "with a corrector"))
            if len(arrays[f"curve_{key}"])
        }
        if curves:
            made["trigrams against evaluations"] = nfe_curve(
                curves,
                floor=float(arrays["curve_floor"]),
                label="JS divergence of trigrams, bits",
                title=title,
            )
        made["loss"] = loss_curve(
            arrays["loss_steps"],
            arrays["loss"],
            validation=(arrays["validation_steps"], arrays["validation"]),
            title=title,
        )
        return made


def _rows(corpus: Corpus, preset: TokenPreset) -> tuple[Tensor, Tensor, Tensor]:
    """Training rows, which overlap, and those of validation and test, which do not."""
    return (
        text_windows(corpus.train, preset.length, preset.stride),
        text_windows(corpus.validation, preset.length),
        text_windows(corpus.test, preset.length),
    )


def _network(task: TextTask) -> nn.Module:
    from flowatlas.networks import SequenceTransformer

    preset = task.preset
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        return SequenceTransformer(
            VOCAB, width=preset.width, depth=preset.depth, heads=preset.heads
        )


def _likelihood(
    field: nn.Module, path: MixturePath, test: Tensor, task: TextTask
) -> dict[str, float]:
    x = test.to(task.preset.torch_device)
    metrics: dict[str, float] = {}
    for name, redraw in (("bits", False), ("bits_redraw", True)):
        if redraw and isinstance(path.source, Mask):
            # With a mask the two processes are one.
            metrics |= {f"bits_redraw{end}": metrics[f"bits{end}"] for end in ("", _ERROR)}
            continue
        generator = torch.Generator().manual_seed(task.seed)
        bound = token_bound(
            field,
            path,
            x,
            redraw=redraw,
            times=task.preset.bound_times,
            generator=generator,
            chunk_size=64,
        )
        metrics[name] = bound.bits_per_token
        noise = bound.standard_error.square().sum().sqrt() / bound.tokens.sum()
        metrics[name + _ERROR] = noise.item() / math.log(2)
    return metrics


def _resemblance(rows: Tensor, test: Tensor, words: frozenset[str]) -> dict[str, float]:
    """How far rows are from the test text, and how many of their words exist."""
    return {
        "js1": jensen_shannon(ngram_counts(rows, 1), ngram_counts(test, 1)),
        "js3": jensen_shannon(ngram_counts(rows, 3), ngram_counts(test, 3)),
        "words": known_words(rows, words),
    }


def _baselines(
    corpus: Corpus, validation: Tensor, test: Tensor, task: TextTask
) -> tuple[dict[str, float], dict[str, str]]:
    preset, words = task.preset, vocabulary(corpus.train)
    text = " ".join(corpus.train)
    metrics: dict[str, float] = {}
    notes = {}
    for name, order in _ORDERS.items():
        counted = KneserNey(text, order)
        models = [counted.with_discount(discount) for discount in _DISCOUNTS]
        bits = [model.bits(validation) for model in models]
        best = bits.index(min(bits))
        generator = torch.Generator().manual_seed(task.seed)
        drawn = models[best].sample(preset.samples, preset.length, generator=generator)
        found = {"bits": models[best].bits(test), **_resemblance(drawn, test, words)}
        metrics |= {f"{name}/{key}": value for key, value in found.items()}
        notes[name] = f"discount {_DISCOUNTS[best]} ({bits[best]:.3f} bits on validation text)"
    pieces = _pieces(corpus, preset)
    real = [_resemblance(piece, test, words) for piece in pieces]
    for key in ("js1", "js3"):
        metrics[f"exact/{key}"] = sum(one[key] for one in real) / len(real)
    metrics["exact/words"] = known_words(test, words)
    metrics["shared_passages"] = shared_passages(corpus.test, corpus.train)
    return metrics, notes


def _pieces(corpus: Corpus, preset: TokenPreset) -> list[Tensor]:
    """Rows of training text from all over it, as many each time as there are samples."""
    rows = text_windows(corpus.train, preset.length)
    generator = torch.Generator().manual_seed(0)
    return [
        rows[torch.randperm(len(rows), generator=generator)[: preset.samples]]
        for _ in range(_PIECES)
    ]


def _draw(
    field: nn.Module, path: MixturePath, test: Tensor, task: TextTask
) -> tuple[Tensor, dict[str, Array]]:
    """Samples, and how the divergence of their trigrams falls with the number of leaps."""
    preset, device = task.preset, task.preset.torch_device
    target = ngram_counts(test, 3)

    def draw(steps: int, way: MixturePath) -> Tensor:
        x: Tensor = sample(
            field,
            way,
            shape=(preset.samples, preset.length),
            solver=TauLeaping(steps=steps),
            device=device,
            generator=torch.Generator().manual_seed(task.seed + 1),
        )
        return x.cpu()

    samples = draw(task.method.solver_steps, path)
    ways = {
        "plain": (path, preset.curve_steps),
        # Strongest in the middle, and gone where all tokens are to be the data's.
        "corrected": (
            path.with_jumps(Jumps(corrector=lambda t: 8 * t * (1 - t))),
            preset.corrected_steps,
        ),
    }
    arrays: dict[str, Array] = {}
    for key, (way, counts) in ways.items():
        values = []
        for steps in (int(count) for count in counts):
            same = key == "plain" and steps == task.method.solver_steps
            x = samples if same else draw(steps, way)
            values.append(jensen_shannon(ngram_counts(x, 3), target))
        arrays[f"curve_{key}"] = np.array(values)
        arrays[f"curve_{key}_steps"] = np.array([int(count) for count in counts])
    return samples, arrays


_CPU = TokenPreset(
    width=128,
    depth=3,
    batch=16,
    optimizer="muon",
    lr=4e-3,
    weight_decay=0.01,
    steps=800,
    max_seconds=300.0,
    ema=0.98,
    bound_times=16,
    samples=64,
    curve_steps=(8, 16, 32, 64, 128),
    corrected_steps=(16, 64),
    threads=1,
)
_PRESETS = {
    "demo": replace(
        _CPU,
        width=64,
        depth=2,
        length=64,
        stride=16,
        steps=250,
        max_seconds=12.0,
        ema=0.95,
        bound_times=4,
        samples=32,
        curve_steps=(8, 32),
        corrected_steps=(),
    ),
    "cpu": _CPU,
    "gpu": replace(
        _CPU,
        width=384,
        depth=8,
        heads=6,
        length=256,
        batch=256,
        lr=2e-3,
        weight_decay=0.1,
        steps=5000,
        max_seconds=1500.0,
        ema=0.999,
        bound_times=64,
        samples=1024,
        curve_steps=(8, 16, 32, 64, 128, 256),
        corrected_steps=(8, 16, 32, 64, 128),
        threads=None,
        device="auto",
    ),
}

TOPICS = TextBenchmark(
    name="text/topics",
    summary="Python's help topics in 27 characters, as text8 has them",
    data=f"{TOPICS_DATA.origin}; documents split by name, equal paragraphs once",
    licence=TOPICS_DATA.licence,
    methods=TOKEN_METHODS,
    presets=_PRESETS,
    load=topics,
)
