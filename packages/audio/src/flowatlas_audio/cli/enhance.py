"""`flowatlas audio enhance`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowatlas.cli.options import add_config, make_parser


def parser() -> Any:
    """Options of the command."""
    made = make_parser(
        "audio enhance",
        "Take the noise out of a recording of speech, by a flow that `flowatlas train "
        "audio/enhancement` has made.",
        "flowatlas audio enhance in.wav out.wav --model runs/enhancer",
    )
    made.add_argument("input", type=str, metavar="IN", help="a WAV, FLAC or OGG file")
    made.add_argument("output", type=str, metavar="OUT", help="the file to write, .wav or .flac")
    made.add_argument(
        "--model",
        type=str,
        required=True,
        metavar="DIR",
        help="that `flowatlas train audio/enhancement --output DIR` has written",
    )
    made.add_argument(
        "--resample", action="store_true", help="convert a file of another rate than the model's"
    )
    made.add_argument("--downmix", action="store_true", help="average the channels of the file")
    made.add_argument("--seed", type=int, default=0, help="of the flow's source")
    add_config(made)
    return made


def run(options: Any) -> int:
    """Read, enhance, write."""
    import torch

    from flowatlas_audio.enhancer import Enhancer
    from flowatlas_audio.waves import read_wave, write_wave

    enhancer = Enhancer.load(options.model)
    wave = read_wave(
        options.input, rate=enhancer.rate, resample=options.resample, downmix=options.downmix
    )
    generator = torch.Generator().manual_seed(options.seed)
    found = enhancer(wave.samples.unsqueeze(0), generator=generator)[0]
    written = write_wave(Path(options.output), found, wave.rate)
    print(f"{len(found) / wave.rate:.1f} s at {wave.rate} Hz: {written}")
    return 0
