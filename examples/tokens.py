"""Text by discrete flow matching: learns the words of the Zen of Python, and writes more.

Trains on the 19 lines that ship inside Python (the module `this`), as sequences of characters
behind a mask, and samples twice: freely, and with the beginning of each line given.

    python examples/tokens.py --output runs/tokens
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flowatlas import FlowMatching, Jumps, MixturePath, TauLeaping, sample

with contextlib.redirect_stdout(io.StringIO()):  # the module prints itself when it is imported
    import this

LETTERS = " abcdefghijklmnopqrstuvwxyz"
LENGTH = 24


def text() -> str:
    """The Zen of Python, in lower case, letters and single spaces alone."""
    verses = codecs.decode(this.s, "rot13").lower()
    return " ".join("".join(c if c in LETTERS else " " for c in verses).split())


class Network(nn.Module):
    """Convolutions over the characters, wide enough to see the whole window."""

    def __init__(self, vocab: int, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab + 1, width)  # the mask is one more token
        self.time = nn.Linear(1, width)
        layers = [nn.Conv1d(width, width, 5, padding=2 * d, dilation=d) for d in (1, 2, 4, 1)]
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(width, vocab)

    def forward(self, x: Tensor, t: Tensor, condition: Any = None, fixed: Any = None) -> Tensor:
        h = (self.embed(x) + self.time(t.view(-1, 1)).unsqueeze(1)).mT
        for layer in self.layers:
            h = h + nn.functional.silu(layer(h))
        logits: Tensor = self.head(h.mT)
        return logits


def written(x: Tensor) -> list[str]:
    return ["".join(LETTERS[i] for i in row) for row in x.tolist()]


def share_of_known_words(lines: list[str], known: set[str]) -> float:
    """Of the words that are in a line as a whole."""
    words = [word for line in lines for word in line.split(" ")[1:-1] if word]
    return sum(word in known for word in words) / max(len(words), 1)


def main(steps: int, output: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of the weights
    verses = text()
    tokens = torch.tensor([LETTERS.index(c) for c in verses])
    windows = tokens.unfold(0, LENGTH, 1)

    path = MixturePath(vocab=len(LETTERS), source="mask")
    objective, model = FlowMatching(path), Network(len(LETTERS))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        batch = windows[torch.randint(len(windows), (64,), generator=generator)]
        loss = objective(model, batch, generator=generator).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    solver, cool = TauLeaping(steps=LENGTH), path.with_jumps(Jumps(temperature=0.8))
    free = written(sample(model, cool, shape=(16, LENGTH), solver=solver, generator=generator))
    # The first half of a window is given; the flow writes how it goes on.
    begun = windows[torch.randint(len(windows), (16,), generator=generator)]
    held = (torch.arange(LENGTH) < LENGTH // 2).expand_as(begun)
    completed = sample(
        model,
        cool,
        shape=tuple(begun.shape),
        fixed=(held, begun),
        solver=solver,
        generator=generator,
    )
    assert torch.equal(completed[held], begun[held])
    ends = written(completed)

    known = set(verses.split())
    for name, lines in (("free", free), ("completed", ends)):
        print(f"{name}: {share_of_known_words(lines, known):.0%} of the words are Zen")
    output.mkdir(parents=True, exist_ok=True)
    file = output / "lines.txt"
    file.write_text("\n".join([*free, "", *ends]) + "\n")
    print(f"lines: {file}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=800, help="of training")
    parser.add_argument("--output", type=Path, default=Path("runs/tokens"), help="directory")
    main(**vars(parser.parse_args()))
