from __future__ import annotations

import importlib.util
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from flowatlas.errors import CapabilityError, ConfigError, DataError, GeometryError
from flowatlas.manifolds import Sphere
from flowatlas.networks import MLP
from flowatlas.objectives import FlowMatching
from flowatlas.paths import AffinePath, GeodesicPath
from flowatlas.training import (
    EMA,
    DivergenceError,
    FitResult,
    FlowModule,
    OptimizerSettings,
    TensorData,
    fit,
    load_checkpoint,
    load_network,
    read_log,
)

SCRIPT = Path(__file__).with_name("training_run.py")
_spec = importlib.util.spec_from_file_location("training_run", SCRIPT)
assert _spec is not None and _spec.loader is not None
training_run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(training_run)


def gaussian(n: int = 400, seed: int = 0) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)) * 0.5 + 1


def small(seed: int = 0, **settings: Any) -> FlowModule:
    torch.manual_seed(seed)
    return FlowModule(MLP((2,), width=32, depth=2), FlowMatching(AffinePath()), **settings)


def quick(
    module: FlowModule, data: pl.LightningDataModule, directory: Path, **settings: Any
) -> FitResult:
    settings = {"steps": 20, "progress": False, "accelerator": "cpu", **settings}
    return fit(module, data, output_dir=directory, **settings)


def weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def bias_of_outputs(module: pl.LightningModule) -> Tensor:
    assert isinstance(module, FlowModule) and isinstance(module.model, MLP)
    return module.model.trunk.outputs.bias


def in_a_process(*arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        **settings,
    )


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small are slower on more, and bits depend on the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("algorithm", ["adamw", "muon"])
def test_kill_9_and_resume_is_exact(algorithm: str, tmp_path: Path) -> None:
    # Step 67 is in the middle of an epoch, and 7 steps after a checkpoint.
    directory = tmp_path / "killed"
    killed = in_a_process(directory, "--kill-at=67", f"--algorithm={algorithm}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert load_checkpoint(directory / "checkpoint.safetensors")["global_step"] == 60
    resumed = training_run.run(directory, resume=True, algorithm=algorithm)
    uninterrupted = training_run.run(tmp_path / "whole", algorithm=algorithm)
    assert resumed.log.read_bytes() == uninterrupted.log.read_bytes()
    for kind in ("ema", "raw"):
        a, b = (load_network(r.checkpoint, weights=kind) for r in (resumed, uninterrupted))
        assert torch.equal(weights(a), weights(b))
    assert resumed.complete
    assert resumed.step == 120


class Interrupt(pl.Callback):
    def __init__(self, step: int, validating: bool) -> None:
        self.step, self.validating = step, validating

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step and not self.validating:
            raise RuntimeError("interrupted")

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.global_step == self.step and self.validating:
            raise RuntimeError("interrupted")


class Forgetful(nn.Module):
    """Dropout and running statistics: state that is not in the parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 16), nn.BatchNorm1d(16), nn.SiLU(), nn.Dropout(0.3), nn.Linear(16, 2)
        )

    def forward(self, x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
        out: Tensor = self.layers(torch.cat([x, t[:, None]], 1))
        return out


@pytest.mark.parametrize(
    "settings",
    [
        {"val_every": 10, "checkpoint_every": 10, "keep_best": True},
        {"val_every": 7, "checkpoint_every": 5},
        {"val_every": 6, "checkpoint_every": 8, "accumulate": 3},
    ],
    ids=["together", "apart", "accumulated"],
)
def test_interruptions_leave_no_trace(tmp_path: Path, settings: dict[str, Any]) -> None:
    def module() -> FlowModule:
        torch.manual_seed(0)
        return FlowModule(Forgetful(), FlowMatching(AffinePath()), ema=EMA(0.9))

    def run(name: str, *interrupt: Any) -> FitResult:
        callbacks = [Interrupt(*interrupt)] if interrupt else []
        data = TensorData(gaussian(70), gaussian(30, 1), batch_size=16)
        plan = {**settings, "trainer": {"callbacks": callbacks}, "steps": 40, "resume": True}
        return quick(module(), data, tmp_path / name, **plan)

    whole = run("whole")
    validating = 2 * settings["val_every"]
    for step, where in ((3, False), (10, False), (validating, True), (24, False), (39, False)):
        with pytest.raises(RuntimeError, match="interrupted"):
            run("broken", step, where)
    broken = run("broken")
    assert broken.log.read_bytes() == whole.log.read_bytes()
    a, b = (load_checkpoint(r.checkpoint) for r in (broken, whole))
    for name, value in b["state_dict"].items():
        assert torch.equal(a["state_dict"][name], value), name
    for name, value in b["ema"]["weights"].items():
        assert torch.equal(a["ema"]["weights"][name], value), name
    assert broken.best_val_loss == whole.best_val_loss


def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    done = in_a_process(tmp_path / "two", "--gradients", "--devices=2", "--steps=30")
    assert done.returncode == 0, done.stderr
    gradients = training_run.Gradients(tmp_path / "one" / "gradients.safetensors")
    training_run.run(tmp_path / "one", steps=30, callbacks=[gradients])
    one, two = (load_file(tmp_path / name / "gradients.safetensors") for name in ("one", "two"))
    assert max(value.abs().max() for name, value in one.items() if name.startswith("0.")) > 0.1
    # Later the weights drift apart by rounding.
    early = [name for name in one if int(name.split(".")[0]) < 5]
    assert len(early) == 5 * len(list(training_run.build()[0].parameters()))
    for name in early:
        torch.testing.assert_close(two[name], one[name], atol=1e-6, rtol=1e-5)
    first, second = (read_log(tmp_path / name / "losses.jsonl") for name in ("one", "two"))
    assert [line["step"] for line in first] == [line["step"] for line in second]
    for a, b in zip(first, second, strict=True):
        key = "val_loss" if "val_loss" in a else "loss"
        assert b[key] == pytest.approx(a[key], abs=1e-4)


def test_a_write_that_fails_half_way_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    done = in_a_process(tmp_path, "--file-size=20000")
    assert done.returncode == 0, done.stderr
    assert "DataError" in done.stdout
    for part in ("checkpoint.safetensors", "File too large", "ulimit", "intact"):
        assert part in done.stdout
    assert load_checkpoint(tmp_path / "checkpoint.safetensors")["global_step"] == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.safetensors", "losses.jsonl"]
    # And with room again the run goes on.
    assert training_run.run(tmp_path, steps=30, resume=True).step == 30


def test_learns_a_gaussian_to_the_least_loss_there_is(tmp_path: Path) -> None:
    # Least loss at time t: Var(x_1 - x_0 | x_t) = s^2 / (t^2 s^2 + (1 - t)^2); over t, s pi / 2.
    s, mean = 0.5, 1.0
    module = FlowModule(
        MLP((2,), width=64, depth=2),
        FlowMatching(AffinePath()),
        optimizer=OptimizerSettings(lr=3e-3),
        ema=EMA(0.99),
    )
    result = quick(module, TensorData(gaussian(50_000), batch_size=512), tmp_path, steps=600)
    network = result.network()

    def exact(x: Tensor, t: Tensor) -> Tensor:
        t = t[:, None]
        variance = t**2 * s**2 + (1 - t) ** 2
        return mean + (t * s**2 - (1 - t)) / variance * (x - t * mean)

    x_1 = gaussian(100_000, seed=9)
    draws = module.objective.draw(x_1, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        learned = module.objective(network, x_1, draws=draws).loss.item()
        least = module.objective(exact, x_1, draws=draws).loss.item()
    # 5 standard deviations of the mean of 200,000 squares of mean 0.8.
    assert least == pytest.approx(s * math.pi / 2, abs=0.015)
    assert 0 < learned - least < 0.01
    # The loss of a network that was not trained is far from it.
    assert module.objective(MLP((2,)), x_1, draws=draws).loss.item() - least > 1


def test_validation_loss_is_the_same_for_any_batch_size_and_at_any_time(tmp_path: Path) -> None:
    losses = []
    for i, size in enumerate((7, 64)):
        data = TensorData(gaussian(50), gaussian(30, 1), val_batch_size=size, batch_size=16)
        module = small(optimizer=OptimizerSettings(lr=1e-12, warmup=0))
        result = quick(module, data, tmp_path / str(i), val_every=5)
        losses += [line["val_loss"] for line in read_log(result.log) if "val_loss" in line]
    assert len(losses) == 8
    assert losses == pytest.approx([losses[0]] * 8, abs=1e-6)
    lines = [line for line in read_log(result.log) if "val_loss" in line]
    assert set(lines[0]["val_loss_t"]) <= {str(i) for i in range(5)}
    assert len(lines[0]["val_loss_t"]) >= 4


def test_validation_uses_the_average(tmp_path: Path) -> None:
    data = TensorData(gaussian(50), gaussian(30, 1), batch_size=16)
    fast = OptimizerSettings(lr=5e-3, warmup=0)
    start = quick(small(), data, tmp_path / "a", steps=1).val_loss
    # An average that has hardly moved.
    slow = small(optimizer=fast, ema=EMA(0.99999, warmup=False))
    assert quick(slow, data, tmp_path / "b", steps=60).val_loss == pytest.approx(start, abs=0.05)
    end = quick(small(optimizer=fast), data, tmp_path / "c", steps=60).val_loss
    assert start is not None and end is not None
    assert end < start - 0.3


def test_ema_or_raw_is_chosen_at_load(tmp_path: Path) -> None:
    module = small(ema=EMA(0.9))
    result = quick(module, TensorData(gaussian()), tmp_path / "a")
    ema, raw = (result.network(weights=kind) for kind in ("ema", "raw"))
    assert torch.equal(weights(raw), weights(module.model))
    assert not torch.equal(weights(ema), weights(raw))
    given = MLP((2,), width=32, depth=2)
    assert load_network(result.checkpoint, given) is given
    assert torch.equal(weights(given), weights(ema))
    assert module.ema is not None
    with module.ema.applied(module.model):
        assert torch.equal(weights(module.model), weights(ema))
    with pytest.raises(DataError, match="shapes"):
        load_network(result.checkpoint, MLP((2,), width=16, depth=2))
    with pytest.raises(ConfigError, match="'ema' or 'raw'"):
        load_network(result.checkpoint, weights="average")
    plain = quick(small(), TensorData(gaussian()), tmp_path / "b")
    with pytest.raises(ConfigError, match="weights='raw'"):
        plain.network()
    assert isinstance(plain.network(weights="raw"), MLP)


def test_foreign_networks_are_passed_at_load(tmp_path: Path) -> None:
    module = FlowModule(Forgetful(), FlowMatching(AffinePath()))
    result = quick(module, TensorData(gaussian()), tmp_path)
    with pytest.raises(ConfigError, match="make it and pass it"):
        result.network(weights="raw")
    again = result.network(Forgetful(), weights="raw")
    assert torch.equal(weights(again), weights(module.model))


def test_best_weights_are_those_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    # A learning rate that ruins the network after a good start.
    module = small(optimizer=OptimizerSettings(lr=3e-3, schedule="constant", warmup=0))
    data = TensorData(gaussian(), gaussian(100, 1), batch_size=64)

    class Ruin(pl.Callback):
        def on_train_batch_end(
            self,
            trainer: pl.Trainer,
            pl_module: pl.LightningModule,
            outputs: Any,
            batch: Any,
            batch_idx: int,
        ) -> None:
            if trainer.global_step == 35:
                with torch.no_grad():
                    bias_of_outputs(pl_module).add_(3.0)

    result = quick(
        module,
        data,
        tmp_path,
        steps=40,
        val_every=10,
        keep_best=True,
        trainer={"callbacks": [Ruin()]},
    )
    losses = [line["val_loss"] for line in read_log(result.log) if "val_loss" in line]
    assert result.best_val_loss == min(losses) == losses[2]
    assert result.best is not None
    assert load_checkpoint(result.best)["global_step"] == 30
    last, best = (result.network(weights="raw", best=b) for b in (False, True))
    assert (weights(last) - weights(best)).abs().max() > 1
    # A resumed run remembers which was best.
    again = quick(module, data, tmp_path, steps=45, resume=True, keep_best=True)
    assert again.val_loss is not None and result.best_val_loss is not None
    assert again.val_loss > result.best_val_loss
    assert again.best is not None
    assert load_checkpoint(again.best)["global_step"] == 30
    with pytest.raises(ConfigError, match="keep_best"):
        quick(small(), TensorData(gaussian()), tmp_path / "n").network(weights="raw", best=True)


def test_time_is_a_guard(tmp_path: Path) -> None:
    data = TensorData(gaussian(), gaussian(50, 1))
    result = quick(small(), data, tmp_path, steps=10**6, max_seconds=0.5)
    assert not result.complete
    assert result.seconds < 10
    assert result.val_loss is not None
    assert load_checkpoint(result.checkpoint)["global_step"] == result.step
    more = quick(small(), data, tmp_path, steps=10**6, max_seconds=0.2, resume=True)
    assert more.step > result.step
    assert [line["step"] for line in read_log(more.log) if "loss" in line] == list(
        range(1, more.step + 1)
    )


def test_a_finished_run_resumes_to_itself_and_can_be_prolonged(tmp_path: Path) -> None:
    data = TensorData(gaussian(), gaussian(50, 1))
    first = quick(small(), data, tmp_path, steps=15)
    content = first.log.read_bytes()
    again = quick(small(), data, tmp_path, steps=15, resume=True)
    assert (again.step, again.log.read_bytes()) == (15, content)
    assert quick(small(), data, tmp_path, steps=25, resume=True).step == 25


def test_a_run_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    quick(small(), TensorData(gaussian()), tmp_path)
    with pytest.raises(ConfigError, match="holds a run"):
        quick(small(), TensorData(gaussian()), tmp_path)
    assert quick(small(), TensorData(gaussian()), tmp_path, steps=5, overwrite=True).step == 5
    with pytest.raises(ConfigError, match="seed: got 3"):
        quick(small(), TensorData(gaussian()), tmp_path, resume=True, seed=3)
    with pytest.raises(ConfigError, match="batch_size"):
        quick(small(), TensorData(gaussian(), batch_size=8), tmp_path, resume=True)


def test_a_corrupt_checkpoint_is_not_resumed(tmp_path: Path) -> None:
    result = quick(small(), TensorData(gaussian()), tmp_path)
    content = result.checkpoint.read_bytes()
    result.checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"checkpoint\.safetensors.*truncated"):
        quick(small(), TensorData(gaussian()), tmp_path, resume=True, steps=30)


def test_the_seed_decides(tmp_path: Path) -> None:
    def curve(name: str, seed: int) -> bytes:
        result = quick(small(), TensorData(gaussian()), tmp_path / name, seed=seed)
        return result.log.read_bytes()

    assert curve("a", 1) == curve("b", 1)
    assert curve("a2", 1) != curve("c", 2)


def test_a_loss_of_nan_ends_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    class Poison(pl.Callback):
        def on_train_batch_start(
            self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if trainer.global_step == 25:
                with torch.no_grad():
                    bias_of_outputs(pl_module).fill_(torch.nan)

    with pytest.raises(DivergenceError, match=r"nan at step 26.*learning rate"):
        quick(
            small(),
            TensorData(gaussian()),
            tmp_path,
            steps=100,
            checkpoint_every=20,
            trainer={"callbacks": [Poison()]},
        )
    checkpoint = load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert checkpoint["global_step"] == 20
    assert all(torch.isfinite(v).all() for v in checkpoint["state_dict"].values())


def test_data_off_the_manifold_are_named(tmp_path: Path) -> None:
    module = FlowModule(MLP((3,), manifold=Sphere()), FlowMatching(GeodesicPath(Sphere())))
    x = Sphere().projx(torch.randn(50, 3))
    with pytest.raises(GeometryError, match="val: points lie off Sphere"):
        quick(module, TensorData(x, 1.1 * x), tmp_path)


def test_compiling_leaves_names_and_results_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The eager backend traces as inductor does, and needs no C compiler.
    original = nn.Module.compile
    called = []

    def traced(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        called.append(self)
        original(self, *args, backend="eager", **kwargs)

    monkeypatch.setattr(nn.Module, "compile", traced)
    plain, compiled = small(ema=EMA(0.9)), small(ema=EMA(0.9), compile=True)
    data = TensorData(gaussian(), gaussian(50, 1))
    a = quick(plain, data, tmp_path / "a", steps=5)
    b = quick(compiled, data, tmp_path / "b", steps=5)
    assert called == [compiled.model]
    assert list(load_checkpoint(a.checkpoint)["state_dict"]) == list(
        load_checkpoint(b.checkpoint)["state_dict"]
    )
    torch.testing.assert_close(weights(plain), weights(compiled))
    assert compiled.model._compiled_call_impl is None


class Batches(Dataset[Any]):
    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return self.batches[index]


def test_batches_are_checked(tmp_path: Path) -> None:
    class Other(pl.LightningDataModule):
        def __init__(self, batch: Any) -> None:
            super().__init__()
            self.batch = batch

        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(Batches([self.batch] * 4), batch_size=None)

    x = gaussian(8)
    settings = {"steps": 2, "val_every": 2, "trainer": {"limit_val_batches": 0}}
    for i, batch in enumerate((x, (x,), {"x_1": x})):
        assert quick(small(), Other(batch), tmp_path / str(i), **settings).step == 2
    with pytest.raises(ConfigError, match="unknown keys"):
        quick(small(), Other({"x_1": x, "label": x}), tmp_path / "x", **settings)
    with pytest.raises(ConfigError, match="'x_1'"):
        quick(small(), Other({"data": x}), tmp_path / "y", **settings)


def test_settings_are_checked(tmp_path: Path) -> None:
    data = TensorData(gaussian())
    for bad in ({"steps": 0}, {"val_every": 0}, {"checkpoint_every": 0}, {"accumulate": 0}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            quick(small(), data, tmp_path, **bad)
    with pytest.raises(ConfigError, match="bins"):
        small(bins=0)
    with pytest.raises(ConfigError, match="condition_dropout"):
        small(condition_dropout=1.5)
    with pytest.raises(CapabilityError, match="load_network"):
        FlowModule.load_from_checkpoint("any.ckpt")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"output_dir.*file"):
        quick(small(), data, tmp_path / "file")


def test_works_in_a_trainer_of_ones_own(tmp_path: Path) -> None:
    data = TensorData(gaussian(), gaussian(50, 1))
    module = small(optimizer=OptimizerSettings(schedule="constant"))
    trainer = pl.Trainer(
        max_epochs=1,
        limit_train_batches=5,
        limit_val_batches=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 5
    assert {"train/loss", "val/loss"} <= set(trainer.callback_metrics)
    with pytest.raises(ConfigError, match="constant"):
        pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False).fit(
            small(), datamodule=data
        )


def test_the_progress_line_goes_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick(small(), TensorData(gaussian(), gaussian(50, 1)), tmp_path, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "20/20" in err
    assert "Tip" not in err
    assert "GPU available" not in err
    quick(small(), TensorData(gaussian()), tmp_path, overwrite=True)
    assert capsys.readouterr() == ("", "")
