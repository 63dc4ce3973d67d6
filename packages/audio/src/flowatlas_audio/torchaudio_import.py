"""torchaudio beside any build of torch."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from flowatlas.errors import CapabilityError

__all__ = ["load_torchaudio"]

_EXTENSION = "torchaudio._extension"


def load_torchaudio() -> ModuleType:
    """The module `torchaudio`, with or without its compiled part.

    The compiled part of a wheel loads only beside the torch it was built for, and the whole import
    fails with it. What is written in Python (spectrograms, filter banks, resampling, Griffin-Lim)
    needs none of it: where the compiled part does not load, and only there, an empty module takes
    its place and torchaudio is imported again. Its compiled functions then raise when called.

    Raises:
        CapabilityError: torchaudio is not installed, or fails for another reason.

    Example:
        ```python
        from flowatlas_audio import load_torchaudio

        resample = load_torchaudio().functional.resample
        ```
    """
    try:
        return _imported()
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "torchaudio":
            raise _unusable(error) from error
        raise
    except (OSError, ImportError, RuntimeError) as error:
        _forget()
        sys.modules[_EXTENSION] = _stub()
        try:
            return _imported()
        except Exception as second:
            _forget()
            raise _unusable(second) from error


def _imported() -> ModuleType:
    import torchaudio

    module: ModuleType = torchaudio
    return module


def _stub() -> ModuleType:
    """What the Python part of torchaudio reads of its extension."""
    stub: Any = ModuleType(_EXTENSION)
    stub._IS_TORCHAUDIO_EXT_AVAILABLE = False
    stub._IS_ALIGN_AVAILABLE = False
    stub._check_cuda_version = lambda: None
    stub._load_lib = _no_library
    stub.fail_if_no_align = _fails
    module: ModuleType = stub
    return module


def _no_library(name: str) -> bool:
    """No library is loaded."""
    return False


def _fails(function: Any) -> Any:
    """A function that says that it is not there."""

    def absent(*args: Any, **kwargs: Any) -> Any:
        raise CapabilityError(
            f"torchaudio.functional.{function.__name__}: the compiled part of torchaudio does not "
            "load beside this build of torch. Install the two in versions made for each other."
        )

    return absent


def _forget() -> None:
    """Undo a failed import, which leaves parts of the package behind."""
    for name in [n for n in sys.modules if n == "torchaudio" or n.startswith("torchaudio.")]:
        del sys.modules[name]


def _unusable(error: Exception) -> CapabilityError:
    return CapabilityError(
        f"torchaudio: it cannot be imported ({type(error).__name__}: {error}). "
        "Install it: pip install torchaudio."
    )
