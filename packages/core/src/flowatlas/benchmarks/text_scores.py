"""How good a flow of text is, beside models that count."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from flowatlas.benchmarks.contract import Array, Task
from flowatlas.benchmarks.ngrams import (
    KneserNey,
    jensen_shannon,
    known_words,
    ngram_counts,
    vocabulary,
)
from flowatlas.benchmarks.token_method import TokenMethod, TokenPreset
from flowatlas.data.text import Corpus, shared_passages, text_windows
from flowatlas.paths import Jumps, MixturePath
from flowatlas.sampling import sample, token_bound
from flowatlas.solvers import TauLeaping
from flowatlas.sources import Mask

__all__ = ["TextTask", "count_baselines", "draw_samples", "likelihood", "resemblance"]

TextTask = Task[TokenMethod, TokenPreset]
#: Of a Kneser-Ney model; the best on validation text is taken.
_DISCOUNTS = (0.3, 0.5, 0.7, 0.8, 0.9)
_ORDERS = {"unigram": 1, "trigram": 3, "fivegram": 5}
#: Pieces of training text, each as long as the samples, that make the floor of divergences.
_PIECES = 8
_ERROR = "_standard_error"


def likelihood(
    field: nn.Module, path: MixturePath, test: Tensor, task: TextTask
) -> dict[str, float]:
    """Bits per character of both processes, at most, with standard errors."""
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


def resemblance(rows: Tensor, test: Tensor, words: frozenset[str]) -> dict[str, float]:
    """How far rows are from the test text, and how many of their words exist."""
    return {
        "js1": jensen_shannon(ngram_counts(rows, 1), ngram_counts(test, 1)),
        "js3": jensen_shannon(ngram_counts(rows, 3), ngram_counts(test, 3)),
        "words": known_words(rows, words),
    }


def count_baselines(
    corpus: Corpus, validation: Tensor, test: Tensor, task: TextTask
) -> tuple[dict[str, float], dict[str, str]]:
    """Scores of counting models and of real text, and which discounts were taken."""
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
        found = {"bits": models[best].bits(test), **resemblance(drawn, test, words)}
        metrics |= {f"{name}/{key}": value for key, value in found.items()}
        notes[name] = f"discount {_DISCOUNTS[best]} ({bits[best]:.3f} bits on validation text)"
    pieces = _pieces(corpus, preset)
    real = [resemblance(piece, test, words) for piece in pieces]
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


def draw_samples(
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
