"""`text/*`: characters of English, beside models that count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from flowatlas.benchmarks.contract import Array, Benchmark, Metric, Outcome
from flowatlas.benchmarks.ngrams import vocabulary
from flowatlas.benchmarks.text_scores import (
    TextTask,
    count_baselines,
    draw_samples,
    likelihood,
    resemblance,
)
from flowatlas.benchmarks.text_settings import TEXT_PRESETS
from flowatlas.benchmarks.token_method import TOKEN_METHODS, TokenMethod, TokenPreset
from flowatlas.data.text import (
    ALPHABET,
    Corpus,
    decode_text,
    text_windows,
    topics,
)
from flowatlas.data.text import (
    TOPICS as TOPICS_DATA,
)
from flowatlas.objectives import FlowMatching

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TOPICS", "TextBenchmark"]

VOCAB = len(ALPHABET)
#: Validation rows whose loss is in the log.
_WATCHED = 48
_KEPT = 12


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
        metrics = likelihood(field, path, test, task)
        baselines, notes = count_baselines(corpus, validation, test, task)
        samples, curves = draw_samples(field, path, test, task)
        words = vocabulary(corpus.train)
        return Outcome(
            metrics={
                **metrics,
                **resemblance(samples, test, words),
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


TOPICS = TextBenchmark(
    name="text/topics",
    summary="Python's help topics in 27 characters, as text8 has them",
    data=f"{TOPICS_DATA.origin}; documents split by name, equal paragraphs once",
    licence=TOPICS_DATA.licence,
    methods=TOKEN_METHODS,
    presets=TEXT_PRESETS,
    load=topics,
)
