"""The training loop of both stages.

Each step is a pure function of the state before it. The seed and the step number determine its
clips and random draws, and the saved state contains everything else. A run that was killed and
resumed therefore gives the same result as an uninterrupted one.
"""

import logging
import math
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch.utils.data import DataLoader, Dataset

from codetalker_cli.devices import make_accelerator
from codetalker_cli.errors import CheckpointError, CodeTalkerError, RenderError, counted
from codetalker_cli.failures import doing
from codetalker_cli.settings import TrainSettings
from codetalker_cli.train import state
from codetalker_cli.train.batches import Batch, Plan, Shard
from codetalker_cli.train.curves import draw_curves
from codetalker_cli.train.progress import ProgressReport, TrainingProgress, describe
from codetalker_cli.train.run_folder import RunFolder
from codetalker_cli.train.state import Interrupt
from codetalker_cli.train.steps import Stepper
from codetalker_cli.train.task import Task, Values
from codetalker_cli.train.trackers import Trackers
from codetalker_cli.train.validation import diagnose

logger = logging.getLogger(__name__)

DIAGNOSE_AFTER = 0.2
"""The fraction of the epochs before diagnostics start; until then, barely any motion is normal."""
SAVING_SHARE = 20
"""Saving the state takes at most 1 / ``SAVING_SHARE`` of the training time."""


def fit(
    task: Task,
    settings: TrainSettings,
    folder: RunFolder,
    *,
    accelerator: Accelerator | None = None,
    resume: bool = False,
    report: ProgressReport | None = None,
) -> TrainingProgress:
    """Train a stage; the module docstring of ``train.run_folder`` lists the files it writes.

    Args:
        task: The stage.
        settings: The training settings of the stage.
        folder: The run folder, after ``RunFolder.begin`` or ``RunFolder.enter``.
        accelerator: The device and the processes; None: one process on the CPU.
        resume: Whether to continue from the saved state, if there is one.
        report: Called after each step, in the main process only.

    Returns:
        The progress at the end of the run.

    Raises:
        CodeTalkerError: A loss or a gradient became NaN or infinite (the message names the clip),
            or a signal stopped the run. The last good state and checkpoints are kept.
        CheckpointError: The state or a checkpoint could not be saved (earlier ones are kept), or
            the saved state does not fit the run.
    """
    accelerator = accelerator or make_accelerator(settings.precision)
    return _TrainingRun(task, settings, folder, accelerator, report).train(resume)


class RequestedBatches(Dataset):
    """The batches of an epoch in order, each loaded on request.

    Args:
        task: The stage that loads the batches.
        requests: The (step, clip numbers) of each batch.
    """

    def __init__(self, task: Task, requests: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        self._task, self._requests = task, requests

    def __len__(self) -> int:
        return len(self._requests)

    def __getitem__(self, index: int) -> Batch:
        step, clips = self._requests[index]
        return self._task.load(clips, step)


class _TrainingRun:
    def __init__(
        self,
        task: Task,
        settings: TrainSettings,
        folder: RunFolder,
        accelerator: Accelerator,
        report: ProgressReport | None,
    ) -> None:
        self.task, self.settings, self.folder = task, settings, folder
        self.accelerator = accelerator
        self.report = report if accelerator.is_main_process else None
        self.plan = Plan(
            task.lengths,
            settings.batch_size,
            settings.accumulation,
            accelerator.num_processes,
            settings.seed,
        )
        self.stepper = Stepper(task, settings, accelerator, self.plan.steps_per_epoch)
        self.progress = TrainingProgress(n_steps=self.plan.steps_per_epoch * settings.epochs)
        self.sums: dict[str, list[float]] = {}
        self.warned: set[str] = set()
        self.epoch_is_open = False
        self.seconds = 0.0
        self.last_save, self.save_seconds = time.monotonic(), 0.0

    # Epochs and steps --------------------------------------------------------------------------

    def train(self, resume: bool) -> TrainingProgress:
        set_seed(self.settings.seed, device_specific=True)
        if resume:
            self._resume()
            steps = set(gather_object([self.progress.step]))
            if len(steps) > 1:
                raise CheckpointError(
                    f"{self.folder.states}: the processes found states of different steps "
                    f"{sorted(steps)}; all machines must see the same folder `out`"
                )
        if self._is_done():
            logger.info("%s: the run is already finished", self.folder.out)
            return self.progress
        per_epoch = self.plan.steps_per_epoch
        first, skip = divmod(self.progress.step, per_epoch)
        # The state was saved after the last step of an epoch, but before its validation.
        if self.epoch_is_open and not skip:
            first, skip = first - 1, per_epoch
        self.trackers = Trackers(
            self.settings, self.folder.folder, self.progress.step, self.accelerator
        )
        with Interrupt(distributed=self.accelerator.num_processes > 1) as self.interrupt:
            for epoch in range(first + 1, self.settings.epochs + 1):
                self._train_epoch(epoch, skip)
                skip = 0
        self.trackers.close()
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:  # after the barrier: the others need not wait for this
            self._write_curves_and_sample()
        return self.progress

    def _is_done(self) -> bool:
        sample = self.folder.sample
        has_sample = sample.is_file() or not self.settings.sample_frames
        self.progress.sample = str(sample) if sample.is_file() else ""
        done = self.progress.step == self.progress.n_steps and not self.epoch_is_open
        return done and has_sample and self.folder.curves.is_file()

    def _train_epoch(self, epoch: int, skip: int) -> None:
        started = time.monotonic()
        self.progress.epoch, self.epoch_is_open = epoch, True
        self.stepper.module.train()
        first = (epoch - 1) * self.plan.steps_per_epoch
        rank = self.accelerator.process_index
        shards = [self.plan.shard(clips, rank) for clips in self.plan.epoch(epoch)[skip:]]
        numbered = enumerate(shards, first + skip)
        batches = self._batch_iterator(
            [(step, part) for step, shard in numbered for part in shard.parts]
        )
        for shard in shards:
            self._train_step(shard, batches)
            now = time.monotonic()
            self.seconds, started = self.seconds + now - started, now
            self._maybe_save()
        self._end_epoch(epoch)
        self.epoch_is_open = False
        self._maybe_save(force=epoch == self.settings.epochs)

    def _batch_iterator(self, requests: list[tuple[int, tuple[int, ...]]]) -> Iterator[Batch]:
        on_gpu = self.accelerator.device.type == "cuda"
        # Forked workers share the task's memory instead of pickling it. Forking is safe because
        # they only read files and never use the GPU.
        fork = on_gpu and "fork" in multiprocessing.get_all_start_methods()
        loader = DataLoader(
            RequestedBatches(self.task, requests),
            batch_size=None,
            num_workers=self.settings.workers if fork else 0,
            multiprocessing_context="fork" if fork and self.settings.workers else None,
            pin_memory=on_gpu,
            # The loader draws a seed, which must not change the global random state.
            generator=torch.Generator(),
        )
        return iter(loader)

    def _train_step(self, shard: Shard, batches: Iterator[Batch]) -> None:
        progress = self.progress
        where = f"epoch {progress.epoch}, step {progress.step + 1}"
        with doing(f"training ({where}); a smaller batch_size or crop_frames needs less"):
            values = self.stepper.step(shard, batches, where)
        progress.step += 1
        values |= self.task.after_step(self.accelerator, progress.step)
        for key, value in values.items():
            total = self.sums.setdefault(key, [0.0, 0.0])
            total[0], total[1] = total[0] + value, total[1] + 1
        progress.values |= values
        self.trackers.add(progress.step, values)
        if self.report:
            self.report(progress)

    def _end_epoch(self, epoch: int) -> None:
        means = {key: total / count for key, (total, count) in self.sums.items()}
        means |= self.task.after_epoch(self.accelerator)
        self.sums = {}
        if epoch % self.settings.validate_every == 0 or epoch == self.settings.epochs:
            with self._evaluation_mode():
                means |= self.task.validate(self.accelerator)
                if "score" not in means:
                    means["score"] = means["loss"]
                    if "no-score" not in self.warned:
                        logger.warning(
                            "there are no validation clips, so the training loss selects the best "
                            "checkpoint"
                        )
                    self.warned.add("no-score")
                self._save_checkpoints(means)
            self._log_diagnostics(means)
        self.progress.values |= means
        if self.accelerator.is_main_process:
            row = {"epoch": epoch, "step": self.progress.step, "seconds": round(self.seconds, 3)}
            with state.report_save_errors(f"{self.folder.metrics}: the metrics of epoch {epoch}"):
                self.folder.add_metrics({**row, **means})
        self.trackers.add(self.progress.step, means, always=True)
        validated = "score" in means
        best = "; the best so far" if validated and self.progress.best_epoch == epoch else ""
        logger.log(
            logging.INFO if validated else logging.DEBUG, f"epoch {epoch}: {describe(means)}{best}"
        )
        if self.report:
            self.report(self.progress)

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        """Put the model in the form used at inference: averaged weights, evaluation mode."""
        # Free-running decoding has a new length at each frame and would recompile each time.
        eager = torch.compiler.set_stance("force_eager")
        with self.stepper.averaged(), torch.no_grad(), eager:
            self.stepper.module.eval()
            yield

    def _log_diagnostics(self, means: Values) -> None:
        """Warn of each problem when it first appears, and again after the last epoch."""
        last = self.progress.epoch == self.settings.epochs
        if last or self.progress.epoch >= DIAGNOSE_AFTER * self.settings.epochs:
            for kind, message in diagnose(means).items():
                if last or kind not in self.warned:
                    logger.warning("%s", message)
                self.warned.add(kind)

    def _save_checkpoints(self, means: Values) -> None:
        """Write the latest checkpoint, and the best one if the score improved."""
        progress = self.progress
        if not math.isfinite(means["score"]):
            raise CodeTalkerError(
                f"epoch {progress.epoch}: the validation score is {means['score']}; lower the "
                "learning rate or set gradient_clip; earlier checkpoints are kept"
            )
        is_best = means["score"] < progress.best
        if is_best:
            progress.best, progress.best_epoch = means["score"], progress.epoch
            progress.best_mm = means.get("val_lve_mm")
        if self.accelerator.is_main_process:
            meta = {"step": progress.step, "epoch": progress.epoch, "metrics": means}
            for folder in (self.folder.last, self.folder.out)[: 1 + is_best]:
                with state.report_save_errors(
                    f"{folder}: the checkpoint of epoch {progress.epoch}"
                ):
                    self.task.save(folder, meta)

    def _write_curves_and_sample(self) -> None:
        draw_curves(self.folder.rows(), self.folder.curves, str(self.folder.out))
        if not self.settings.sample_frames:
            return
        try:
            with self._evaluation_mode():
                video = self.task.sample(self.folder.sample, self.settings.sample_frames)
            self.progress.sample = "" if video is None else str(video)
        except RenderError as error:
            logger.warning("no sample video: %s", error)

    # Saving and resuming -----------------------------------------------------------------------

    def _maybe_save(self, force: bool = False) -> None:
        stopping = self.interrupt.requested
        if not force and not stopping:
            min_interval = self.settings.save_every_seconds
            interval = max(min_interval, SAVING_SHARE * self.save_seconds) if min_interval else 0.0
            due = torch.tensor(float(time.monotonic() - self.last_save >= interval))
            if self.accelerator.num_processes > 1:  # clocks differ, so the main process decides
                due = self.accelerator.gather(due.to(self.accelerator.device)[None])[0]
            if not due:
                return
        started = time.monotonic()
        device = self.accelerator.device
        random_states = gather_object([state.random_state(device)])
        if self.accelerator.is_main_process:
            state.save(self.folder.states, self.progress.step, self._collect_state(random_states))
        self.last_save = time.monotonic()
        self.save_seconds = self.last_save - started
        if stopping:
            raise self.interrupt.error(self.progress.step)

    def _collect_state(self, random_states: list[Any]) -> dict[str, Any]:
        p = self.progress
        best = {"best": p.best, "best_epoch": p.best_epoch, "best_mm": p.best_mm}
        return {
            "clips_per_step": self.plan.clips_per_step,
            "n_processes": self.accelerator.num_processes,
            "epoch_is_open": self.epoch_is_open,
            **self.stepper.state_dict(),
            "random": random_states,
            "task": self.task.state_dict(),
            "sums": self.sums,
            "seconds": self.seconds,
            "progress": {"values": p.values, **best},
        }

    def _resume(self) -> None:
        content = state.load(self.folder.states)
        if content is None:
            if self.folder.curves.is_file():
                raise CheckpointError(
                    f"{self.folder.states}: the state was deleted, so this finished run cannot be "
                    f"resumed; its best checkpoint is {self.folder.out}; start again with "
                    "`overwrite`"
                )
            if self.accelerator.is_main_process:
                self.folder.truncate_metrics(0)
            logger.info("%s: no state was saved yet; starting at step 0", self.folder.states)
            return
        for key, expected in (
            ("n_processes", self.accelerator.num_processes),
            ("clips_per_step", self.plan.clips_per_step),
        ):
            if content[key] != expected:
                raise CheckpointError(
                    f"{self.folder.states}: the state was saved with {key} = {content[key]}, but "
                    f"this run has {expected}; resume with the original value, or start again with "
                    "`overwrite`"
                )
        if content["step"] > self.progress.n_steps:
            raise CheckpointError(
                f"{self.folder.out}: the run has already done {counted(content['step'], 'step')}, "
                f"but with epochs = {self.settings.epochs} it has only {self.progress.n_steps}; "
                "increase epochs"
            )
        if content["progress"]["best_epoch"] and not self.folder.out.is_dir():
            raise CheckpointError(
                f"{self.folder.out}: the best checkpoint is missing; restore it, or start again "
                "with `overwrite`"
            )
        self.stepper.load_state_dict(content)
        self.task.load_state_dict(content["task"])
        self.sums, self.seconds = content["sums"], content["seconds"]
        self.progress.step, self.epoch_is_open = content["step"], content["epoch_is_open"]
        for key, value in content["progress"].items():
            setattr(self.progress, key, value)
        if self.accelerator.is_main_process:
            # An epoch that was not completed is measured again, so its row is removed.
            self.folder.truncate_metrics(self.progress.step - self.epoch_is_open)
        random_state = content["random"][self.accelerator.process_index]
        state.set_random_state(random_state, self.accelerator.device)
        logger.info("%s: resuming after step %d", self.folder.out, self.progress.step)
