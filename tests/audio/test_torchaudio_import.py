"""torchaudio is imported with its compiled part where that loads, and without it where not."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from flowatlas_audio import load_torchaudio


def test_what_is_written_in_python_works() -> None:
    torchaudio = load_torchaudio()
    wave = torch.sin(2 * torch.pi * 440 * torch.arange(16000) / 16000)
    half = torchaudio.functional.resample(wave, 16000, 8000)
    assert half.shape == (8000,)
    assert torch.allclose(half[100:-100], wave[::2][100:-100], atol=2e-3)


def _package(folder: Path, extension: str) -> None:
    """A torchaudio of three lines, whose extension does what it is told."""
    inside = folder / "torchaudio"
    (inside / "_extension").mkdir(parents=True)
    (inside / "__init__.py").write_text(
        "from torchaudio import _extension\nfrom torchaudio import functional\n"
    )
    (inside / "functional.py").write_text(
        "from torchaudio._extension import _IS_TORCHAUDIO_EXT_AVAILABLE, fail_if_no_align\n"
        "compiled = _IS_TORCHAUDIO_EXT_AVAILABLE\n"
        "@fail_if_no_align\n"
        "def forced_align():\n"
        "    return 1\n"
    )
    (inside / "_extension" / "__init__.py").write_text(textwrap.dedent(extension))


def _asked(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    script = f"import sys; sys.path.insert(0, {str(folder)!r})\n" + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


FAILS = "raise OSError('libtorchaudio.so: undefined symbol')"
LOADS = "_IS_TORCHAUDIO_EXT_AVAILABLE = True\ndef fail_if_no_align(f):\n    return f\n"


@pytest.mark.parametrize(("extension", "compiled"), [(FAILS, "False"), (LOADS, "True")])
def test_stub_takes_the_place_of_the_extension_only_if_it_fails(
    tmp_path: Path, extension: str, compiled: str
) -> None:
    _package(tmp_path, extension)
    found = _asked(
        tmp_path,
        """
        from flowatlas_audio import load_torchaudio
        module = load_torchaudio()
        assert load_torchaudio() is module
        print(module.functional.compiled)
        try:
            print(module.functional.forced_align())
        except NotImplementedError as error:
            print(error)
        """,
    )
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0] == compiled
    assert lines[1] == "1" if compiled == "True" else "compiled part" in lines[1]


def test_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # None in sys.modules is how Python marks a module that must not be imported.
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(NotImplementedError, match="pip install torchaudio"):
        load_torchaudio()
